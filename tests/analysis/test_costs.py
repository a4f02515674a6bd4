"""cost.csv at matched tokens, by hand; a budget that was not used; the KL term."""

import json
from pathlib import Path

from answered_study import BASE, METHOD, batch, numbers, read, study, write_results
from finished_study import HARMLESS, JOB, write_table
from finished_study import write_results as write_finished

from thinktuning.analysis.report.page import page
from thinktuning.analysis.tables import header
from thinktuning.analysis.training import marks, run_figures
from thinktuning.commands.compare import compare
from thinktuning.io.files import write_jsonl

CORRECT = {("base", 0, "sums"): BASE} | {("method", s, "sums"): METHOD for s in (0, 1)}


def write(directory: Path, *entries: dict) -> None:
    """Write results of a method, with these entries in the provenance.json of its seeds."""
    write_results(directory, study([0, 1]), CORRECT)
    for seed, more in enumerate(entries):
        path = directory / f"runs/method/seed{seed}/provenance.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more))
        if more.get("budget"):
            rows = [batch(b, budget_used=b / 3 * more["budget"]["used"]) for b in (1, 2, 3)]
            write_jsonl(path.with_name("metrics.jsonl"), rows)


def costs(directory: Path) -> list[dict[str, str]]:
    compare(study([0, 1]), directory, directory / "tables", directory / "plots")
    return read(directory / "tables/cost.csv")


def test_both_currencies_and_the_used_share_of_the_budget(tmp_path: Path) -> None:
    """The student generated 0 and 1000 tokens, the teacher 7 and 7: see `write_results`."""
    write(
        tmp_path,
        {"num_scored_tokens": 500, "budget": {"used": 1.25}},
        {"num_scored_tokens": 300, "budget": {"used": 1.01}},
    )
    base, *train, _, _, _ = costs(tmp_path)
    columns = ("num_tokens", "num_scored_tokens", "budget_used")
    assert [base[column] for column in columns] == ["", "", ""]
    assert [row["seed"] for row in train] == ["0", "1", "mean"]
    assert numbers(train[0], *columns) == [7, 500, 1.25]
    assert numbers(train[1], *columns) == [1007, 300, 1.01]
    assert numbers(train[2], *columns) == [507, 400, 1.13]
    split = ("num_generated_tokens", "num_teacher_tokens")
    assert numbers(train[2], *split) == [500, 7]
    assert train[0]["label"] == "a|b"


def test_trainings_of_earlier_versions_leave_cells_empty(tmp_path: Path) -> None:
    write(tmp_path, {"num_scored_tokens": 500, "budget": None}, {"num_scored_tokens": None})
    train = [row for row in costs(tmp_path) if row["stage"] == "train"]
    assert [row["num_scored_tokens"] for row in train] == ["500", "", "500.0"]
    assert [row["num_tokens"] for row in train] == ["7", "", "7.0"]
    assert {row["budget_used"] for row in train} == {""}
    write(tmp_path / "all", {}, {})
    assert "num_scored_tokens" not in costs(tmp_path / "all")[0]


def test_a_budget_that_was_not_used_is_in_every_label(tmp_path: Path) -> None:
    used = {"num_scored_tokens": 1, "budget": {"used": 1.0}}
    write(tmp_path, used, {"num_scored_tokens": 1, "budget": {"used": 0.719}})
    mark = "a|b (budget not used: 71% in seed 1)"
    assert {row["label"] for row in costs(tmp_path) if row["method"] == "method"} == {mark}
    text = (tmp_path / "tables/comparison.md").read_text()
    assert mark.replace("|", "\\|") in text and "**(budget not used: N%)**: " in text


def test_without_a_budget_the_comparison_does_not_explain_one(tmp_path: Path) -> None:
    write(tmp_path, {}, {})
    costs(tmp_path)
    assert "budget" not in (tmp_path / "tables/comparison.md").read_text()


def test_the_mark_has_the_smallest_share() -> None:
    def of(*shares: float) -> list[str]:
        return marks({s: run_figures([batch(1, budget_used=u)]) for s, u in enumerate(shares)})

    assert of(1.0, 1.2) == []
    assert of(0.999, 0.5) == ["budget not used: 50%"]
    assert of(0.9999, 1.0, 1.0) == ["budget not used: 99% in seed 0"]
    assert marks({0: run_figures([batch(1)])}) == []


def test_the_page_shows_what_is_counted(tmp_path: Path) -> None:
    write_finished(tmp_path, HARMLESS)
    shown = page(JOB, tmp_path)
    assert "scored tokens" not in shown and "budget used" not in shown
    (row,) = read(tmp_path / "tables/cost.csv")
    row |= {"num_tokens": 12412, "num_scored_tokens": 98765.0, "budget_used": 1.0375}
    evaluated = row | {"stage": "evaluate", "num_scored_tokens": None, "budget_used": None}
    write_table(tmp_path / "tables/cost.csv", [row, evaluated])
    shown = page(JOB, tmp_path)
    assert "98,765" in shown and "103.8" in shown and "budget used, %" in shown


def test_the_header_states_the_kl_term() -> None:
    job = study([0])
    assert "KL" not in header(job, ["c0ffee"])
    same = job.model_copy(update={"betas": {"method": 0.04}})
    line = "- KL to the base model (`training.beta`): 0.04 for every trained method."
    assert line in header(same, ["c0ffee"]).splitlines()
    names = {"methods": {"base": "zero-shot", "method": "a|b", "x": "X", "y": "Y"}}
    other = job.model_copy(update={"betas": {"method": 0.04, "x": 0.0, "y": 0.04}} | names)
    line = "- KL to the base model (`training.beta`): 0.04 for a|b, Y; 0 for X."
    assert line in header(other, ["c0ffee"]).splitlines()
