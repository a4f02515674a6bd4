"""What a run was taught, and the marks of methods that are not what their names say."""

import math
from pathlib import Path

import pytest
from answered_study import BASE, METHOD, ONE_SEED, batch, numbers, read, run_compare, study
from answered_study import write_results as write_answers
from finished_study import HARMLESS, JOB, write_results

from thinktuning.analysis.training import all_seeds, marked, marks, run_figures, training_runs
from thinktuning.commands.compare import compare
from thinktuning.commands.report import report
from thinktuning.io.errors import StudyError
from thinktuning.io.files import write_jsonl

UNTAUGHT = {"num_unparsed": 2.0, "num_unanswered": 1.0, "num_taught": 0.0}
GRPO = {"guidance_rate": 0.0, "num_asked": 0.0, "num_unparsed": 0.0, "num_taught": 0.0}
SILENT = {"no_signal": 1}
TABLES = ("comparison.md", "comparison.csv", "comparison.tex", "subsets.csv", "behaviors.csv")
TABLES += ("flips.csv", "training.csv", "cost.csv")


def metrics(num_batches=4, **changes):
    return [batch(number, **changes) for number in range(1, num_batches + 1)]


def runs(*seeds):
    """Return the marks of a method whose seeds have these metrics."""
    return marks({seed: run_figures(rows) for seed, rows in enumerate(seeds)})


def test_figures_of_a_run():
    rows = [*metrics(2), batch(3, **UNTAUGHT), batch(4, **GRPO, **SILENT)]
    found = run_figures(rows)
    assert (found["num_batches"], found["num_guided"], found["num_no_signal"]) == (4, 3, 1)
    # asked 2 + 2 + 2, of which one, one and two replies do not parse, and one never came
    assert [found[f"num_{key}"] for key in ("asked", "answered", "parsed", "taught")] == [
        6,
        5,
        2,
        2,
    ]
    shares = ("parsed_rate", "no_signal_rate", "cut_off_rate", "last_reflection_rate")
    assert [found[key] for key in shares] == [2 / 6, 1 / 4, 1 / 2, 1 / 4]


def test_what_earlier_versions_did_not_record_is_unknown_and_not_marked():
    rows = [
        {key: value for key, value in row.items() if key not in ("no_signal", "num_cut_off")}
        for row in metrics(4)
    ]
    found = run_figures(rows)
    assert math.isnan(found["no_signal_rate"]) and math.isnan(found["cut_off_rate"])
    assert found["parsed_rate"] == 0.5
    assert runs(rows) == []


def test_counts_of_all_seeds_and_their_rates():
    total = all_seeds({0: run_figures(metrics(4)), 7: run_figures(metrics(2, **UNTAUGHT))})
    assert (total["num_asked"], total["num_parsed"], total["num_batches"]) == (12, 4, 6)
    assert total["parsed_rate"] == 4 / 12


def test_a_method_is_marked_if_in_some_seed_nobody_was_taught():
    good, bad = metrics(4), metrics(4, **UNTAUGHT)
    assert runs(good, good) == []
    assert runs(bad, bad) == ["taught 0 of 16 asked"]
    assert runs(good, bad) == ["taught 0 of 8 asked in seed 1"]
    assert runs(bad, good, bad) == ["taught 0 of 16 asked in seeds 0, 2"]
    assert runs([*bad, batch(5)]) == []  # once is enough
    assert runs(metrics(4, num_asked=0.0, num_unparsed=0.0, num_taught=0.0)) == [
        "taught 0 of 0 asked"  # guided, but no rollout could be selected
    ]
    assert runs(metrics(4, **GRPO)) == []  # nobody was to be taught


def test_a_teacher_whose_schedule_never_guides_is_marked(tmp_path: Path) -> None:
    job = study([0]).model_copy(update={"unguided": ["method"]})
    write_answers(tmp_path, job, ONE_SEED)
    write_jsonl(tmp_path / "runs/method/seed0/metrics.jsonl", metrics(3, **GRPO))
    compare(job, tmp_path, tmp_path / "tables", tmp_path / "plots")
    assert "(taught 0 of 0 asked)" in (tmp_path / "tables/comparison.md").read_text()
    assert marks({0: run_figures(metrics(3))}, unguided=True) == []


def test_a_method_is_marked_if_half_of_a_runs_batches_gave_no_signal():
    quiet = [*metrics(2), batch(3, **SILENT), batch(4, **SILENT)]
    assert runs(quiet) == ["no signal in 2 of 4 batches"]
    assert runs([*quiet, batch(5)]) == []
    assert runs(metrics(3), metrics(4, **SILENT)) == ["no signal in 4 of 4 batches in seed 1"]
    assert runs(metrics(4, **UNTAUGHT, **SILENT)) == [
        "taught 0 of 8 asked",
        "no signal in 4 of 4 batches",
    ]


@pytest.mark.parametrize("num_bad", [1, 2])
def test_every_table_and_figure_has_the_mark(tmp_path: Path, num_bad: int) -> None:
    job = study([0, 1])
    correct = {("base", 0, "sums"): BASE} | {("method", s, "sums"): METHOD for s in (0, 1)}
    write_answers(tmp_path, job, correct)
    for seed in range(num_bad):
        path = tmp_path / f"runs/method/seed{seed}/metrics.jsonl"
        write_jsonl(path, metrics(3, **UNTAUGHT))
    compare(job, tmp_path, tmp_path / "tables", tmp_path / "plots")
    mark = ["", "(taught 0 of 6 asked in seed 0)", "(taught 0 of 12 asked)"][num_bad]
    for name in TABLES:
        lines = (tmp_path / "tables" / name).read_text().splitlines()
        named = [line for line in lines if "a|b" in line or "a\\|b" in line]
        assert named and all(mark in line for line in named), name
        assert not any(mark in line for line in lines if "zero-shot" in line and "a|b" not in line)
    for path in (tmp_path / "plots").iterdir():
        shown = path.read_text()
        assert all(word in shown for word in ("a|b (taught 0 of", "asked")), path
    rows = read(tmp_path / "tables/training.csv")
    assert [(row["method"], row["seed"]) for row in rows] == [
        ("method", "0"),
        ("method", "1"),
        ("method", "mean"),
    ]
    assert numbers(rows[0], "num_asked", "num_taught", "parsed_rate") == [6, 0, 0]
    assert numbers(rows[2], "num_asked") == [6]


def test_without_a_fault_labels_are_unchanged_and_shares_stand_in_the_comparison(
    tmp_path: Path,
) -> None:
    job = study([0])
    rows = run_compare(tmp_path, job, ONE_SEED)
    assert [row["label"] for row in rows] == ["zero-shot", "a|b"]
    assert marked(job, training_runs({"method": {0: metrics(3)}})) == job
    text = (tmp_path / "tables/comparison.md").read_text()
    assert "| a\\|b | 3 | 6 | 50.0 | 3 | 0.0 | 50.0 |" in text
    assert "**parsed**: the share" in text


def test_a_method_without_a_teacher_has_no_shares(tmp_path: Path) -> None:
    write_answers(tmp_path, study([0]), ONE_SEED)
    write_jsonl(tmp_path / "runs/method/seed0/metrics.jsonl", metrics(3, **GRPO))
    compare(study([0]), tmp_path, tmp_path / "tables", tmp_path / "plots")
    text = (tmp_path / "tables/comparison.md").read_text()
    assert "| a\\|b | 3 | - | - | - | 0.0 | 50.0 |" in text
    (row, _) = read(tmp_path / "tables/training.csv")
    assert (row["num_asked"], row["parsed_rate"]) == ("0", "")


def test_a_study_without_training_has_no_section(tmp_path: Path) -> None:
    run_compare(tmp_path, study([]), ONE_SEED)
    assert "Training" not in (tmp_path / "tables/comparison.md").read_text()
    assert len((tmp_path / "tables/training.csv").read_text().splitlines()) == 1


def test_the_pages_viewer_has_the_mark_too(tmp_path: Path) -> None:
    write_results(tmp_path, HARMLESS)
    for seed in (0, 1):
        path = tmp_path / f"runs/taught/seed{seed}/metrics.jsonl"
        write_jsonl(path, metrics(2, **UNTAUGHT))
    report(JOB, tmp_path, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "\\u0026 b\\u003c/i\\u003e (taught 0 of 8 asked)" in page


def test_metrics_without_what_the_marks_need_are_refused(tmp_path: Path) -> None:
    write_answers(tmp_path, study([0]), ONE_SEED)
    path = tmp_path / "runs/method/seed0/metrics.jsonl"
    write_jsonl(path, [{"rollout_batch": 1, "reward": 0.5}])
    with pytest.raises(StudyError, match=r"metrics\.jsonl: .*without guidance_rate, num_rollouts"):
        compare(study([0]), tmp_path, tmp_path / "tables", tmp_path / "plots")
