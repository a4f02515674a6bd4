"""The reference of the site, made from the code: command line, keys of a study, Python."""

import argparse
import io
from collections import defaultdict
from typing import Any

import thinktuning
from thinktuning.commands.cli import parser
from thinktuning.study.study import Study

WIDTH = 88  # of the help, in characters: what a page shows without scrolling

# Page -> heading, first sentence, rooms of the names that `import thinktuning` offers,
# modules and other names.
PYTHON: dict[str, tuple[str, str, list[str], list[str]]] = {
    "trainer": (
        "Trainer",
        "`trl.GRPOTrainer` with the hooks of an algorithm"
        " ([how it works](../method.md#the-trainer-in-trl)).",
        ["trainer"],
        ["algorithms.rollout.Rollout"],
    ),
    "teachers": (
        "Teachers",
        "Who gives feedback ([in a study](../study.md#teachers),"
        " [one of your own](../extending.md#add-a-teacher)).",
        ["teachers"],
        [],
    ),
    "algorithms": (
        "Algorithms",
        "Base classes, and the section of each algorithm"
        " ([what they do](../method.md#algorithms),"
        " [one of your own](../extending.md#add-an-algorithm)).",
        ["algorithms"],
        ["algorithms.shaping", "algorithms.schedule", "algorithms.selection"],
    ),
    "grading": (
        "Grading",
        "Answers, verdicts, rewards ([the grader](../evaluation.md#the-grader)).",
        [],
        ["grading.answers", "grading.grader", "grading.reward", "grading.behaviors"],
    ),
    "statistics": (
        "Statistics",
        "Intervals, differences, scores ([what they mean](../evaluation.md#statistics)).",
        [],
        [f"analysis.{name}" for name in ("intervals", "multiplicity", "scores", "sample_files")],
    ),
}


def python_page(heading: str, sentence: str, rooms: list[str], others: list[str]) -> str:
    """Return a page that mkdocstrings fills from docstrings."""
    offered = [
        f"thinktuning.{home}.{name}"
        for name, home in thinktuning._HOMES.items()
        if home.split(".")[0] in rooms
    ]
    lines = [f"# {heading}", "", sentence, ""]
    if offered:
        lines += ["`from thinktuning import ...` offers these names.", ""]
    for name in offered:
        lines += [f"::: {name}", ""]
    for name in others:
        lines += [f"::: thinktuning.{name}", "    options: {show_root_full_path: true}", ""]
    return "\n".join(lines)


def help_of(command: argparse.ArgumentParser) -> str:
    """Return a command's help, as it is in a terminal of `WIDTH` columns."""
    command.formatter_class = lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=WIDTH)
    text = io.StringIO()
    command.print_help(text)
    return f"```text\n{text.getvalue().rstrip()}\n```\n"


def cli_page() -> str:
    """Return the page of the command line: the help of each command."""
    top = parser()
    (commands,) = (a.choices for a in top._actions if isinstance(a, argparse._SubParsersAction))
    sections = [f"## {name}\n\n{help_of(command)}" for name, command in commands.items()]
    return "\n".join(["# Command line", "", help_of(top), *sections])


def type_of(schema: dict[str, Any]) -> str:
    """Return what values a JSON schema takes, with links to the sections it names."""
    if reference := schema.get("$ref"):
        name = reference.rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(type_of(each) for each in schema[several]))
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{value}`" for value in values)
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    if kind == "object":
        inner = next(iter(schema.get("patternProperties", {}).values()), None)
        inner = inner or schema.get("additionalProperties")
        return f"mapping to {type_of(inner)}" if isinstance(inner, dict) else "mapping"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    return " ".join([kind, *bounds])


def section(name: str, schema: dict[str, Any]) -> list[str]:
    """Return the lines about a section of the study: its docstring, and a table of its keys."""
    description = schema.get("description", "")
    lines = [f"## {name}", "", description, ""]
    if "properties" not in schema:
        return [*lines, type_of(schema), ""]
    lines += ["| key | values | default |", "|---|---|---|"]
    required = schema.get("required", [])
    for key, value in schema["properties"].items():
        default = "required" if key in required else plain(value.get("default", {}))
        lines.append(f"| `{key}` | {type_of(value)} | {default} |")
    return [*lines, ""]


def plain(default: Any) -> str:
    """Return a default as YAML writes it; that of a section is in its own table."""
    if isinstance(default, dict):
        return "its own"
    words = {None: "null", True: "true", False: "false"}
    return f"`{words[default] if default is None or isinstance(default, bool) else default}`"


def keys_page() -> str:
    """Return the page of all keys of a study, from its JSON schema."""
    schema = Study.model_json_schema()
    sections: dict[str, dict[str, Any]] = defaultdict(dict, {"Study": schema})
    sections |= schema["$defs"]
    head = [
        "# Keys of a study",
        "",
        "What the code accepts, section by section. [The study file](../study.md) explains it;"
        " `config.yaml` has a comment on each key. A key is refused where it is not listed."
        " `thinktuning validate STUDY` names the key, what is wrong, and the fix.",
        "",
    ]
    return "\n".join([*head, *(line for each in sections.items() for line in section(*each))])


def pages() -> dict[str, str]:
    """Return the reference's pages: their place in the site -> Markdown."""
    made = {name: python_page(*page) for name, page in PYTHON.items()}
    made |= {"cli": cli_page(), "keys": keys_page()}
    return {f"reference/{name}.md": text for name, text in made.items()}
