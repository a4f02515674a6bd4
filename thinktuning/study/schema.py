"""The JSON schema of a study file, for editors: `thinktuning schema`.

A study is complete, or has `extends` and shows only what it changes. Sections of an extending
study, and the overrides of a method, are *partial*: without required keys, and of a union of
sections any keys that one of them has. Contradictions between keys are found by `validate` only.

The schema is that of pydantic, in draft 7, which editors know best.
"""

import json
from collections.abc import Callable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from thinktuning.io.project import project
from thinktuning.study.comments import describe
from thinktuning.study.reading import NAMED, OF_SWEEP
from thinktuning.study.study import OVERRIDABLE, Study
from thinktuning.study.sweep import OF_METHOD, SECTIONS

Schema = dict[str, Any]

DEFINITION = "#/definitions/"
PARTIAL = "Partial"
OF_NUMBERS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
EXTENDS = "The study to change; the path is relative to this file. Other keys are merged into it."


class _Generator(GenerateJsonSchema):
    """Writes no titles, which would only repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def study_schema() -> Schema:
    """Return the schema of a study file."""
    study = Study.model_json_schema(
        ref_template=DEFINITION + "{model}", schema_generator=_Generator
    )
    raw: dict[str, Schema] = study.pop("$defs")
    full = {name: _each(tidied, each) for name, each in (raw | {"Study": study}).items()}
    describe(full, project() / "config.yaml")
    sections = full["Study"]["properties"]
    for section in OVERRIDABLE:
        full["MethodConfig"]["properties"][section] = _each(partial, sections[section])
    definitions = full | {_partial(name): _each(partial, each) for name, each in full.items()}
    _extending(definitions)
    _sweeping(definitions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A study of thinktuning",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": DEFINITION + _partial("Study")},
        "else": {"$ref": DEFINITION + "Study"},
        "definitions": {name: definitions[name] for name in sorted(definitions)},
    }


def schema_text() -> str:
    """Return the schema of a study file as JSON, one line for each definition."""
    schema = study_schema()
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in schema.items()]
    each = schema["definitions"].items()
    definitions = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in each)
    lines[-1] = f'"definitions": {{\n{definitions}\n}}'
    return "{\n" + ",\n".join(lines) + "\n}\n"


def tidied(schema: Schema) -> Schema:
    """Return a schema in draft 7: no discriminators, names of entries checked.

    The key that selects a section, `type`, is required, although its class has a default.
    """
    found = {
        OF_NUMBERS.get(key, key): value
        for key, value in schema.items()
        if key not in ("title", "discriminator")
    }
    if "patternProperties" in found:
        found.setdefault("additionalProperties", False)
    if "const" in found.get("properties", {}).get("type", {}):
        found["required"] = ["type", *(key for key in found.get("required", ()) if key != "type")]
    return found


def partial(schema: Schema) -> Schema:
    """Return the schema of a section of which any keys may be left out."""
    left_out = ("required", "minProperties", "default")
    found = {key: value for key, value in schema.items() if key not in left_out}
    if "$ref" in found:
        found["$ref"] = DEFINITION + _partial(found["$ref"].removeprefix(DEFINITION))
    if "oneOf" in found:  # without the key that selects one, several may have these keys
        found["anyOf"] = found.pop("oneOf")
    return found


def dotted(definitions: dict[str, Schema]) -> Schema:
    """Return the schema of the settings of a sweep's point: dotted key -> value.

    The values of methods' keys are not checked.
    """
    sections = definitions[_partial("Study")]["properties"]
    exact: dict[str, list[Schema]] = {}
    patterns: dict[str, list[Schema]] = {}

    def add(path: str, schema: Schema, is_pattern: bool) -> None:
        """Add a key, and those below it."""
        values = (patterns if is_pattern else exact).setdefault(path, [])
        value = {key: each for key, each in schema.items() if key != "description"}
        if value not in values:
            values.append(value)
        for each in [schema, *schema.get("anyOf", ())]:
            target = each
            if "$ref" in each:
                target = definitions[each["$ref"].removeprefix(DEFINITION)]
            elif "anyOf" in each and each is not schema:
                add(path, each, is_pattern)
            start = path if is_pattern else path.replace(".", r"\.")
            for key, inner in target.get("properties", {}).items():
                add(rf"{start}\.{key}" if is_pattern else f"{path}.{key}", inner, is_pattern)
            for pattern, inner in target.get("patternProperties", {}).items():
                add(rf"{start}\.{pattern.strip('^$')}", inner, True)
            names = target.get("propertyNames", {}).get("enum", ())
            for name in names:
                named = rf"{start}\.{name}" if is_pattern else f"{path}.{name}"
                add(named, target["additionalProperties"], is_pattern)
            if target.get("additionalProperties") and not names:
                add(rf"{start}\..+", {}, True)

    for section in SECTIONS:
        add(section, sections[section], False)
    one_of = "|".join(
        key
        for section in OF_METHOD
        for key in (
            *(each.replace(".", r"\.") for each in exact if f"{each}.".startswith(f"{section}.")),
            *(each for each in patterns if each.startswith(rf"{section}\.")),
        )
    )
    of_methods = rf"^methods\.[a-z0-9][a-z0-9_]*\.({one_of})$"
    return {
        "type": "object",
        "description": "The keys that a point replaces, with dots: {model.max_steps: 250}.",
        "properties": {key: _any_of(values) for key, values in exact.items()},
        "patternProperties": {f"^{key}$": _any_of(values) for key, values in patterns.items()}
        | {of_methods: {}},
        "additionalProperties": False,
    }


def _extending(definitions: dict[str, Schema]) -> None:
    """Give an extending study the key `extends`, and the null that removes an entry."""
    study = definitions[_partial("Study")]
    study["required"] = ["extends"]
    study["properties"] = {"extends": {"type": "string", "description": EXTENDS}} | study[
        "properties"
    ]
    for section in NAMED:
        entries = study["properties"][section]["patternProperties"]
        entries.update({name: _any_of([each, {"type": "null"}]) for name, each in entries.items()})


def _sweeping(definitions: dict[str, Schema]) -> None:
    """Give a sweep the keys that its axes and points may replace."""
    settings = definitions["Settings"] = dotted(definitions)
    keys = [{"enum": sorted(settings["properties"])}]
    keys += [{"pattern": pattern} for pattern in settings["patternProperties"]]
    for prefix in ("", PARTIAL):
        axis, sweep = (definitions[prefix + each] for each in ("AxisConfig", "SweepConfig"))
        axis["properties"]["key"] = {"anyOf": [*keys, {"type": "null"}]}
        for section in (axis, sweep):
            points = section["properties"]["points"]["patternProperties"]
            points.update({name: {"$ref": f"{DEFINITION}Settings"} for name in points})
    sweep = definitions[_partial("SweepConfig")]["properties"]
    for key in OF_SWEEP:  # null removes an entry, or all of them
        entries = sweep[key]["patternProperties"]
        entries.update({name: _any_of([each, {"type": "null"}]) for name, each in entries.items()})
        sweep[key] = _any_of([sweep[key], {"type": "null"}])


def _each(change: Callable[[Schema], Schema], schema: Schema) -> Schema:
    """Return a schema with `change` made to it and to all schemas in it."""
    found: Schema = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties"):
            found[key] = {name: _each(change, each) for name, each in value.items()}
        elif key in ("anyOf", "oneOf"):
            found[key] = [_each(change, each) for each in value]
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            found[key] = _each(change, value)
        else:
            found[key] = value
    return change(found)


def _any_of(schemas: list[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _partial(name: str) -> str:
    """Return the name of a section's partial schema, which is its own."""
    return f"{PARTIAL}{name.removeprefix(PARTIAL)}"
