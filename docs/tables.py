"""Fill the tables of README.md and docs/*.md from the snapshots in docs/<name>/.

    python docs/tables.py            # rewrite every table
    python docs/tables.py --check    # exit with 1 if a table or an estimate in text is out of date

A table stands between two comments. The first one says in YAML what the table shows:

    <!-- table
    source: controls/comparison.md      # or sweep.md, flips.csv, behaviors.csv, cost.csv
    where: {task: Mean of tasks}        # which rows of the source; `by: label` tells them apart
    columns:                            # heading -> column of the source
      method: label                     # the row's name
      accuracy: accuracy                # an estimate with its interval
      minus GRPO, points: minus GRPO    # a difference in accuracy; bold if its interval excludes 0
      reflects: reflects without interval
      tokens: mean_tokens as .0f        # of a CSV file: a number and its format
      seeds: given                      # from the row's `given`
    rows:                               # name -> its value in `by`, or several that agree
      our method: ThinkTuning
      vanilla GRPO: {of: GRPO, given: {seeds: "0, 1"}}    # with a cell that no source has
    -->
    ...
    <!-- end table -->

`shaping: [released, ...]` with `probabilities` and `advantage`, in place of all that: the table of
the weights of shaping. An estimate (`64.5 [59.9, 69.1]`) must be in a snapshot of a table there.
"""

import argparse
import csv
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from thinktuning.algorithms.config import AASConfig

ROOT = Path(__file__).parents[1]
TABLE = re.compile(r"^<!-- table\n(.*?)^-->\n(.*?)^<!-- end table -->$", re.M | re.S)
COLUMNS = {"accuracy, %": "accuracy", "reflects, %": "reflects"}  # as comparison.md calls them
NUMBER = r"[+-]?\d+(?:\.\d+)?"
ESTIMATE = re.compile(rf"({NUMBER})(?: ?%| points)? \[({NUMBER}), ({NUMBER})\]")
CODE = re.compile(r"^```.*?^```$|^ {4}.*?$|`[^`\n]*`", re.M | re.S)

Record = dict[str, str]
Lines = list[list[str]]


class TableError(ValueError):
    """A table that cannot be made, or a number without a source."""


class Spec(BaseModel):
    """A part of a table's specification; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


def as_row(value: Any) -> Any:
    """Let labels alone stand for a row, and one label for a list of labels."""
    row = value if isinstance(value, dict) else {"of": value}
    return row | {"of": [row["of"]]} if isinstance(row.get("of"), str) else row


class RowSpec(Spec):
    """A row: the rows of the source that it stands for, and cells that no source has."""

    of: list[str]
    given: dict[str, str] = Field(default_factory=dict)


class ResultsSpec(Spec):
    """A table of results, from one file of a snapshot."""

    source: str
    where: dict[str, str] = Field(default_factory=dict)
    by: str = "label"
    columns: dict[str, str]
    rows: dict[str, Annotated[RowSpec, BeforeValidator(as_row)]]


class ShapingSpec(Spec):
    """The table of pi / (pi + gamma(A)): a row a variant, a column a probability."""

    shaping: list[str]
    advantage: float
    probabilities: list[float]


def read_spec(text: str) -> ResultsSpec | ShapingSpec:
    """Read the opening comment of a table."""
    values = yaml.safe_load(text)
    kind = ShapingSpec if isinstance(values, dict) and "shaping" in values else ResultsSpec
    return kind.model_validate(values)


def markdown_tables(text: str) -> list[Lines]:
    """Return the Markdown tables of a text, each the cells of its head and of its rows."""
    return [
        [
            [cell.strip() for cell in line.strip().strip("|").split("|")]
            for i, line in enumerate(block.splitlines())
            if i != 1  # the rule below the head
        ]
        for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.M)
    ]


def read_comparison(text: str) -> list[Record]:
    """Read comparison.md or sweep.md: a record a method and task; interventions.md."""
    records = []
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        (head, *body), *differences = markdown_tables(section)
        names = [COLUMNS.get(name, name.removesuffix(", points")) for name in head]
        names[names.index("method") if "method" in names else 0] = "label"
        found = [dict(zip(names, line, strict=True)) for line in body]
        for minus, *lines in differences:
            column = minus.index("accuracy, points")
            of_label = {line[0]: line[column] for line in lines}
            for record in found:  # a baseline has none to itself
                record[minus[0]] = of_label.get(record["label"], "")
        task = section.splitlines()[0].split(" (")[0]
        records += [record | {"task": task} for record in found]
    return records


def read_source(path: Path) -> list[Record]:
    """Read a file of a snapshot."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return read_comparison(text)
    return list(csv.DictReader(text.splitlines()))


def results_table(spec: ResultsSpec, docs: Path) -> Lines:
    """Return the cells of a table of results."""
    try:
        records = read_source(docs / spec.source)
    except OSError as error:
        raise TableError(f"cannot read docs/{spec.source} ({error.strerror})") from None
    body = [list(spec.columns)]
    for name, row in spec.rows.items():
        lines = [cells(spec, name, row, find(records, spec, value)) for value in row.of]
        if any(line != lines[0] for line in lines):
            raise TableError(f"row {name!r} stands for {row.of}, which differ: {lines}")
        body.append(lines[0])
    return body


def find(records: Iterable[Record], spec: ResultsSpec, value: str) -> Record:
    """Return the one record that has a value in the column of `by`."""
    wanted = {spec.by: value} | spec.where
    found = [
        record
        for record in records
        if all(record.get(key, "").lower() == value.lower() for key, value in wanted.items())
    ]
    if len(found) != 1:
        raise TableError(f"{len(found)} rows of the source are {wanted}")
    return found[0]


def cells(spec: ResultsSpec, name: str, row: RowSpec, record: Record) -> list[str]:
    """Return one row's cells."""
    line = []
    for heading, column in spec.columns.items():
        column, _, form = column.partition(" as ")
        whole = column.removesuffix(" without interval")
        if column == "given":
            cell = row.given.get(heading, "")
        elif column == "label":
            cell = name
        elif whole not in record:
            raise TableError(f"the source has no column {whole!r}, but {list(record)}")
        elif form:
            cell = format(float(record[whole]), form)
        else:
            cell = record[whole] if column == whole else record[whole].split(" [")[0]
            cell = f"**{cell}**" if whole.startswith("minus ") and excludes_zero(cell) else cell
        line.append(cell)
    return line


def excludes_zero(cell: str) -> bool:
    """Tell whether the printed interval of a difference lies on one side of 0."""
    found = ESTIMATE.fullmatch(cell)
    return found is not None and (float(found[2]) > 0 or float(found[3]) < 0)


def shaping_table(spec: ShapingSpec) -> Lines:
    """Return the weights of a guided token, to three significant digits."""
    import torch

    from thinktuning.algorithms.shaping import shaping_gamma, shaping_weight

    pi = torch.tensor(spec.probabilities, dtype=torch.float64)
    head = [f"pi = {f'{p:f}'.rstrip('0')}" for p in spec.probabilities]
    body = []
    for variant in spec.shaping:
        aas = AASConfig.model_validate({"variant": variant})
        weights = shaping_weight(pi, shaping_gamma(torch.full_like(pi, spec.advantage), aas))
        body.append([f"`{variant}`", *(f"{weight:#.3g}" for weight in weights.tolist())])
    return [["`aas.variant`", *head], *body]


def to_markdown(lines: Lines) -> str:
    """Return a Markdown table, an empty line around it."""
    head, *body = ("|".join(["", *(f" {c} " if c else " " for c in line), ""]) for line in lines)
    return "\n".join(["", head, "|---" * len(lines[0]) + "|", *body, "", ""])


def fill(text: str, docs: Path) -> str:
    """Return a text with its tables made again.

    Raises:
        TableError: a table cannot be made; names its line.
    """
    if text.count("<!-- table") != len(TABLE.findall(text)):
        raise TableError("a table has no `<!-- end table -->`, or its opening comment no end")

    def made(found: re.Match[str]) -> str:
        line = text[: found.start()].count("\n") + 1
        try:
            match read_spec(found[1]):
                case ShapingSpec() as spec:
                    lines = shaping_table(spec)
                case spec:
                    lines = results_table(spec, docs)
        except (TableError, ValidationError, yaml.YAMLError) as error:
            raise TableError(f"the table in line {line}: {error}") from None
        return f"<!-- table\n{found[1]}-->\n{to_markdown(lines)}<!-- end table -->"

    return TABLE.sub(made, text)


def out_of_date(text: str, filled: str) -> list[str]:
    """Name the tables that differ, by line and source."""
    found = []
    for old, new in zip(TABLE.finditer(text), TABLE.finditer(filled), strict=True):
        if old[2] != new[2]:
            line = text[: old.start()].count("\n") + 1
            source = re.search(r"^(?:source|shaping): *(.*)$", old[1], re.M)
            name = source[1] if source else "?"
            found.append(f"the table in line {line} ({name}) is out of date")
    return found


def estimates(text: str) -> set[tuple[float, ...]]:
    """Return the estimates in a text: value, lower and upper end."""
    return {tuple(map(float, found)) for found in ESTIMATE.findall(" ".join(text.split()))}


def without_source(text: str, docs: Path) -> list[str]:
    """Name the estimates in the text that are in none of the pages of its snapshots."""
    specs = [read_spec(match[1]) for match in TABLE.finditer(text)]
    snapshots = {(docs / spec.source).parent for spec in specs if isinstance(spec, ResultsSpec)}
    pages = sorted(page for path in snapshots for page in path.glob("*.md"))
    strays = estimates(CODE.sub("", TABLE.sub("", text)))
    strays -= estimates("\n".join(page.read_text("utf-8") for page in pages))
    named = " or ".join(f"docs/{page.relative_to(docs)}" for page in pages)
    return [
        f"{value:g} [{low:g}, {high:g}] is not in {named or 'a snapshot: no table here has one'}"
        for value, low, high in sorted(strays)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite or check the files; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="of the repository")
    options = parser.parse_args(arguments)
    docs = options.root / "docs"
    mistakes = []
    for path in [options.root / "README.md", *sorted(docs.glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        try:
            filled = fill(text, docs)
            found = without_source(text, docs)
            found += out_of_date(text, filled) if options.check else []
        except TableError as error:
            filled, found = text, [str(error)]
        mistakes += [f"{path.relative_to(options.root)}: {mistake}" for mistake in found]
        if filled != text and not options.check:
            path.write_text(filled, encoding="utf-8")
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    if mistakes and options.check:
        print("`python docs/tables.py` makes the tables again", file=sys.stderr)
    return int(bool(mistakes))


if __name__ == "__main__":
    sys.exit(main())
