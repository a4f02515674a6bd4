"""Descriptions of a study's keys: the comments of the default study, and the docstrings."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

# "`count`: which completions are imitated. `min_reward`: what makes one right."
OF_KEY = re.compile(r"`(\w+)`: (.+?)(?=\s*`\w+`: |\n\n|\Z)", re.DOTALL)
COMMENT = re.compile(r"(?:^|\s)#\s*(.*)$")
ABOVE = re.compile(r"# --- (.*)")  # a section's comment, in the line above it
SELECTS = "source"  # a comment in a section of this source is not about those of another


def describe(definitions: Mapping[str, dict[str, Any]], example: Path) -> None:
    """Add a description to each key of the schema that the example or its section explains.

    Args:
        definitions: name -> schema; `Study` is that of the whole study.
        example: a study, with comments.
    """
    for schema in definitions.values():
        said = {key: " ".join(text.split()) for key, text in OF_KEY.findall(_text(schema))}
        for key, each in schema.get("properties", {}).items():
            if key in said:
                each.setdefault("description", said[key])
    text = example.read_text(encoding="utf-8")
    _Comments(definitions, text.splitlines()).add(["Study"], yaml.compose(text, yaml.SafeLoader))


def _text(schema: Mapping[str, Any]) -> str:
    text: str = schema.get("description", "")
    return text


class _Comments:
    """Walks through a study with comments and the schema at once."""

    def __init__(self, definitions: Mapping[str, dict[str, Any]], lines: list[str]) -> None:
        self._definitions = definitions
        self._lines = lines

    def add(self, names: list[str], node: Any) -> None:
        """Describe the keys of a mapping, which may be of any of the named sections."""
        for key, value in node.value:
            comment = self.of(key, value)
            below: list[str] = []
            for name in names:
                properties = self._definitions[name].get("properties", {})
                if key.value in properties:
                    if comment:
                        properties[key.value]["description"] = comment
                    below += sections(properties[key.value])
            if below and isinstance(value, yaml.MappingNode):
                self.add(self._selected(below, value), value)

    def of(self, key: Any, value: Any) -> str:
        """Return the comment on a key: behind it, or in the line above a section."""
        start = key.start_mark
        one_line = value.end_mark.line == start.line
        column = value.end_mark.column if one_line else key.end_mark.column + 1
        found = COMMENT.search(self._lines[start.line], column)
        if not found:
            above = self._lines[start.line - 1] if start.line and not start.column else ""
            of_section = ABOVE.fullmatch(above)
            return of_section.group(1) if of_section else ""
        column = self._lines[start.line].index("#", found.start())
        text = [found.group(1)]
        for line in self._lines[start.line + 1 :]:  # further lines of the same comment
            if line.find("#") != column or line[:column].strip():
                break
            text.append(line[column:].strip("# "))
        return " ".join(text)

    def _selected(self, names: list[str], node: Any) -> list[str]:
        """Return the sections that have the mapping's source, if it says one."""
        given = {key.value: value.value for key, value in node.value}.get(SELECTS)
        sources = {
            name: self._definitions[name].get("properties", {}).get(SELECTS, {}).get("const")
            for name in names
        }
        return [name for name in names if given is None or sources[name] == given]


def sections(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of the sections that a schema refers to."""
    if "$ref" in schema:
        return [schema["$ref"].rsplit("/", 1)[-1]]
    return [
        name
        for each in [
            *(schema.get("anyOf", ())),
            *(schema.get("oneOf", ())),
            *schema.get("patternProperties", {}).values(),
        ]
        for name in sections(each)
    ]
