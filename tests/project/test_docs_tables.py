"""Tables and estimates in README and docs are those of the snapshots."""

import re
import runpy

import pytest
from pages import ROOT, TEXTS

TABLES = runpy.run_path(str(ROOT / "docs/tables.py"))
INTERVAL = re.compile(r"\d \[[-+]?\d[\d.]*, [-+]?\d[\d.]*\]")


def test_tables_and_estimates_are_those_of_the_snapshots(capsys):
    assert TABLES["main"](["--check"]) == 0, capsys.readouterr().err


def test_no_table_of_results_is_written_by_hand():
    assert sum(len(TABLES["TABLE"].findall(text)) for text in TEXTS.values()) > 5
    for path, text in TEXTS.items():
        by_hand = re.findall(r"^\|.*\|$", TABLES["TABLE"].sub("", text), re.M)
        assert [(path.name, row) for row in by_hand if INTERVAL.search(row)] == []


COMPARISON = """\
## sums (9 questions)

| method | seeds | accuracy, % | reflects, % | tokens |
| :-- | --: | --: | --: | --: |
| GRPO | 2 | 1.0 [0.5, 1.5] | 0.0 [0.0, 0.0] | 6 |

## Mean of tasks (18 questions)

| method | seeds | accuracy, % | reflects, % | tokens |
| :-- | --: | --: | --: | --: |
| GRPO | 2 | 23.8 [22.2, 25.3] | 0.2 [0.1, 0.3] | 6 |
| one | 2 | 64.5 [59.9, 69.1] | 97.4 [92.9, 100.0] | 28 |
| other | 2 | 64.5 [59.9, 69.1] | 97.4 [92.9, 100.0] | 28 |
| third | 2 | 26.9 [22.1, 31.7] | 0.3 [0.0, 0.6] | 5 |

| minus GRPO | accuracy, points | p |
| :-- | --: | --: |
| one | +40.7 [+36.8, +44.7] | < 0.001 |
| other | +40.7 [+36.8, +44.7] | < 0.001 |
| third | +3.1 [-0.0, +6.3] | 0.051 |
"""
COST = "label,stage,seed,tokens\nGRPO,train,0,9\nGRPO,train,mean,217169.66\nGRPO,evaluate,mean,3\n"
SPECIFIED = """\
<!-- table
source: tiny/comparison.md
where: {task: Mean of tasks}
columns:
  method: label
  accuracy: accuracy
  of each seed: given
  minus GRPO, points: minus GRPO
  reflects: reflects without interval
rows:
  vanilla GRPO: {of: GRPO, given: {of each seed: "23.0, 24.6"}}
  one or the other: [one, other]
  third: third
-->
<!-- end table -->

<!-- table
source: tiny/cost.csv
where: {stage: train, seed: mean}
columns: {method: label, tokens: "tokens as ,.0f"}
rows: {GRPO: GRPO}
-->
<!-- end table -->

<!-- table
shaping: [constant]
advantage: 1
probabilities: [0.1, 0.9]
-->
<!-- end table -->

It gains +40.7 points
[+36.8, +44.7].
"""
FILLED = [  # constant gamma 0.1: 0.1 / 0.2 and 0.9 / 1.0
    """\
| method | accuracy | of each seed | minus GRPO, points | reflects |
|---|---|---|---|---|
| vanilla GRPO | 23.8 [22.2, 25.3] | 23.0, 24.6 | | 0.2 |
| one or the other | 64.5 [59.9, 69.1] | | **+40.7 [+36.8, +44.7]** | 97.4 |
| third | 26.9 [22.1, 31.7] | | +3.1 [-0.0, +6.3] | 0.3 |
""",
    "| method | tokens |\n|---|---|\n| GRPO | 217,170 |\n",
    "| `aas.variant` | pi = 0.1 | pi = 0.9 |\n|---|---|---|\n| `constant` | 0.500 | 0.900 |\n",
]


@pytest.fixture
def pages(tmp_path):
    """A repository of a README with three empty tables and a snapshot."""
    (tmp_path / "docs/tiny").mkdir(parents=True)
    (tmp_path / "docs/tiny/comparison.md").write_text(COMPARISON)
    (tmp_path / "docs/tiny/cost.csv").write_text(COST)
    (tmp_path / "README.md").write_text(SPECIFIED)
    return tmp_path


def fill(pages, *options):
    """Run docs/tables.py on these pages."""
    return TABLES["main"]([*options, "--root", str(pages)])


def test_tables_by_hand(pages):
    assert fill(pages) == 0
    text = (pages / "README.md").read_text()
    assert re.findall(r"^-->\n\n(.*?)\n<!-- end table -->$", text, re.M | re.S) == FILLED
    emptied = re.sub(r"^-->\n.*?^<!-- end", "-->\n<!-- end", text, flags=re.M | re.S)
    assert emptied == SPECIFIED
    assert fill(pages, "--check") == 0


def test_what_is_out_of_date_is_named(pages, capsys):
    fill(pages)
    (pages / "docs/tiny/cost.csv").write_text(COST.replace("217169.66", "5"))
    text = (pages / "README.md").read_text()
    assert fill(pages, "--check") == 1
    line = text[: text.index("<!-- table\nsource: tiny/cost.csv")].count("\n") + 1
    named = f"README.md: the table in line {line} (tiny/cost.csv) is out of date\n"
    assert named in capsys.readouterr().err
    assert (pages / "README.md").read_text() == text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "+40.7 points\n[",
            "+40.8 points\n[",
            "40.8 [36.8, 44.7] is not in docs/tiny/comparison.md",
        ),
        ("third: third", "third: fourth", "line 1: 0 rows of the source are {'label': 'fourth'"),
        ("[one, other]", "[one, third]", "row 'one or the other' stands for ['one', 'third']"),
        ("accuracy: accuracy", "accuracy: acuracy", "the source has no column 'acuracy'"),
        ("tiny/cost.csv", "tiny/none.csv", "cannot read docs/tiny/none.csv"),
        ("where: {st", "wher: {st", "wher\n  Extra inputs are not permitted"),
        ("[constant]\nadvantage: 1", "[constant]\nadvantage: x", "advantage\n  Input should be"),
        ("<!-- end table -->\n\nIt", "It", "a table has no `<!-- end table -->`"),
    ],
)
def test_mistakes_are_named(pages, capsys, old, new, message):
    assert SPECIFIED.count(old) == 1
    (pages / "README.md").write_text(SPECIFIED.replace(old, new))
    assert fill(pages) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("README.md: ") and message in printed


def test_rows_by_another_column_of_the_source(tmp_path):
    """A sweep's points, of one method."""
    source = "point,label,mean\na,GRPO,1\na,taught,2\nb,GRPO,3\nb,taught,4\n"
    (tmp_path / "sweep.csv").write_text(source)
    spec = TABLES["ResultsSpec"].model_validate(
        {
            "source": "sweep.csv",
            "where": {"label": "taught"},
            "by": "point",
            "columns": {"point": "label", "mean": "mean as .0f"},
            "rows": {"first": "a", "second": "b"},
        }
    )
    assert TABLES["results_table"](spec, tmp_path) == [
        ["point", "mean"],
        ["first", "2"],
        ["second", "4"],
    ]
