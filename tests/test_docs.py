"""What README and docs print is what the code gives."""

import re
from csv import DictReader
from pathlib import Path

import pytest
import torch

from thinktuning.objective import guided_advantages
from thinktuning.schema import AAS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
METHOD = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")


def test_the_table_of_shaping_weights():
    """docs/method.md: the weight of a token of probability pi with the advantage 1."""
    table = METHOD[METHOD.index("| `aas.variant` |") :]
    header, _, *rows = re.findall(r"^\|(.*)\|$", table.split("\n\n")[0], re.M)
    probabilities = [float(pi) for pi in re.findall(r"pi = (\S+)", header)]
    assert len(probabilities) == 6 and len(rows) == 3
    logps = torch.tensor([probabilities], dtype=torch.float64).log()
    for row in rows:
        variant, *weights = (cell.strip() for cell in row.split("|"))
        settings = AAS(variant=variant.strip("`")).model_dump()
        advantages = torch.ones(1, dtype=torch.float64)
        expected, shaped = guided_advantages(logps, advantages, torch.ones_like(logps), **settings)
        assert shaped.all()
        assert [float(weight) for weight in weights] == pytest.approx(
            expected[0].tolist(), rel=0.01
        )


# Of each table with results: its text, its first words, its snapshot and scope there, and what the
# study calls its rows that it names otherwise. A row may stand for several methods.
RESULTS = [
    (
        README,
        "| method | accuracy | minus GRPO, points |",
        "controls",
        "Mean of tasks",
        {
            "zero-shot, *asked* to check itself": ["zero-shot, asked to check"],
            "vanilla GRPO": ["GRPO"],
            "vanilla GRPO, as many generated tokens": ["GRPO, as many tokens"],
        },
    ),
    (
        README,
        "| method | accuracy | accuracy of each seed |",
        "smollm2",
        "basic_arithmetic",
        {
            "zero-shot, *asked* to check": ["zero-shot, asked to check"],
            "vanilla GRPO": ["GRPO"],
        },
    ),
    (
        METHOD,
        "| what is changed |",
        "ablations",
        "Mean of tasks",
        {
            "nothing (ThinkTuning)": ["ThinkTuning"],
            "no teacher: vanilla GRPO": ["GRPO"],
            "no RL: SFT on the guided rollouts": ["SFT on guided rollouts"],
            "only wrong feedback is kept": ["keep wrong feedback"],
            "only right feedback is kept": ["keep right feedback"],
            "the teacher's tokens guided": ["teacher's tokens guided"],
            "gamma 0.1, or 0.05 (both one rollout of eight)": ["gamma 0.1", "gamma 0.05"],
            "wrong rollouts are taught first": ["teach wrong ones first"],
            "only groups that are all wrong are taught": ["teach all-wrong groups"],
        },
    ),
    (
        METHOD,
        "| shaping |",
        "rare_tokens",
        "Mean of tasks",
        {
            "released": ["AAS as released"],
            "off": ["AAS off"],
            "of the paper": ["AAS of the paper"],
            "constant 0.1": ["AAS constant 0.1"],
        },
    ),
]


def read_tables(text: str) -> list[list[dict[str, str]]]:
    """Read the Markdown tables of a text, a row a dictionary of its columns; bold is dropped."""
    tables = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.M):
        head, _, *body = (
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in block.replace("**", "").splitlines()
        )
        tables.append([dict(zip(head, line, strict=True)) for line in body])
    return tables


def read_scope(snapshot: str, scope: str) -> dict[str, dict[str, str]]:
    """Read what a snapshot has on a task, or on the mean of tasks: method -> column -> text."""
    text = (ROOT / f"docs/{snapshot}/comparison.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {re.escape(scope)} \((.*?)(?=^## |\Z)", text, re.M | re.S)
    columns = {"accuracy, %": "accuracy", "reflects, %": "reflects", "tokens": "tokens"}
    figures: dict[str, dict[str, str]] = {}
    for table in read_tables(section):
        against = next(iter(table[0]))  # `method`, or `minus BASELINE`
        names = columns if against == "method" else {"accuracy, points": f"{against}, points"}
        for row in table:
            found = {name: row[column] for column, name in names.items()}
            figures.setdefault(row[against], {}).update(found)
    return figures


@pytest.mark.parametrize(
    ("text", "head", "snapshot", "scope", "methods"),
    RESULTS,
    ids=[snapshot for _, _, snapshot, _, _ in RESULTS],
)
def test_tables_of_results_are_those_of_the_snapshots(text, head, snapshot, scope, methods):
    """A figure is that of its row and column; of an estimate the interval may be left out."""
    figures = read_scope(snapshot, scope)
    (table,) = read_tables(text[text.index(head) :].split("\n\n")[0])
    differences = []
    for row in table:
        label, *_ = row.values()
        for method in methods.get(label, [label]):
            for column in row.keys() & {key for found in figures.values() for key in found}:
                # a baseline has no difference to itself
                expected = figures[method].get(column, "")
                if row[column] not in (expected, expected.split(" [")[0]):
                    differences.append((label, column, row[column], expected))
    assert differences == []
    assert {"accuracy", "reflects"} <= table[0].keys()


def test_no_table_of_results_is_left_out():
    for text in (README, METHOD):
        cells = [[c for row in table for c in row.values()] for table in read_tables(text)]
        estimates = [table for table in cells if any(re.match(r"\S+ \[.*\d]", c) for c in table)]
        assert len(estimates) == sum(each is text for each, *_ in RESULTS)


def test_accuracies_of_seeds_have_the_printed_mean():
    (table,) = read_tables(README[README.index(RESULTS[1][1]) :].split("\n\n")[0])
    seeds = {row["accuracy"]: row["accuracy of each seed"].split(", ") for row in table}
    means = {
        float(accuracy.split()[0]): sum(map(float, each)) / len(each)
        for accuracy, each in seeds.items()
        if each != [""]
    }
    assert len(means) == 2
    assert list(means.values()) == pytest.approx(list(means), abs=0.1)


def test_flips_in_the_text_are_those_of_the_snapshot():
    with (ROOT / "docs/controls/flips.csv").open(encoding="utf-8") as file:
        rows = {row["task"]: row for row in DictReader(file) if row["method"] == "thinktuning"}
    flips = ("wrong_to_right", "right_to_wrong")
    expected = [rows["mean of tasks"][name] for name in ("committed_rate", *flips)]
    expected += [rows["chain_sum_long"][name] for name in flips]
    sentence = README[README.index("- **Reflection mends") :].split("([flips]")[0]
    assert re.findall(r"\d+\.\d", sentence) == [f"{100 * float(rate):.1f}" for rate in expected]


def test_commands_put_results_outside_the_repository():
    texts = [README, *(path.read_text(encoding="utf-8") for path in ROOT.glob("docs/*.md"))]
    found = re.findall(r"(?:DIRECTORY=|--directory )([^\s`]+)", "\n".join(texts))
    assert len(found) > 3
    assert [directory for directory in found if not directory.startswith("~/")] == []


def test_the_library_example_trains(likely_eos, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    small = "max_steps=1, max_completion_length=16, use_cpu=True, report_to='none', bf16=False,"
    for name, value in {
        "Qwen/Qwen2.5-0.5B-Instruct": str(likely_eos),
        'output_dir="out",': f'output_dir="out", {small} gradient_checkpointing=False,',
        "SelfTeacher()": "SelfTeacher(max_completion_length=8)",
    }.items():
        assert name in code
        code = code.replace(name, value)
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "__main__"}
    exec(compile(code, "README.md", "exec"), scope)
    assert scope["trainer"].state.global_step == 1
    assert len(scope["trainer"].rollouts) == 8
    assert any(rollout.asked for rollout in scope["trainer"].rollouts)
