"""The comparison of kept answers: means, differences and intervals worked by hand."""

import csv
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from thinktuning import plots
from thinktuning.compare import compare
from thinktuning.comparison import MEAN_OF_TASKS, pooled
from thinktuning.config import CompareRun, StudyError
from thinktuning.schema import Comparison

Correct = Mapping[tuple[str, int, str], Sequence[Sequence[int]]]  # (method, seed, task): N x K

# The base, untrained, on four questions with two samples: scores 1, 0, 1/2, 1/2, mean 1/2.
BASE = [[1, 1], [0, 0], [1, 0], [0, 1]]
# A method: scores 1, 1, 1, 1/2, mean 7/8. Minus the base: 0, 1, 1/2, 0, mean 3/8.
METHOD = [[1, 1], [1, 1], [1, 1], [0, 1]]


def study(seeds: Sequence[int], tasks: Sequence[str] = ("sums",)) -> CompareRun:
    return CompareRun(
        study="tiny",
        methods={"base": "zero-shot", "method": "a|b"},
        seeds={"base": [], "method": list(seeds)},
        tasks=list(tasks),
        comparison=Comparison(baselines=["base"]),
    )


def write_results(results: Path, run: CompareRun, correct: Correct) -> None:
    """Write what the earlier stages leave; the first sample of each question reflects."""
    for (method, seed, task), questions in correct.items():
        directory = results / f"eval/{method}/seed{seed}/{task}"
        directory.mkdir(parents=True)
        rows = [
            {
                "id": f"q{i}",
                "sample": k,
                "correct": bool(right),
                "verdict": "correct" if right else "no_answer" if i == 1 else "timeout",
                "finish_reason": "stop" if right else "length",
                "num_tokens": 10 + 2 * k,
                "reflects": method == "method" and k == 0,
            }
            for i, samples in enumerate(questions)
            for k, right in enumerate(samples)
        ]
        write_rows(directory / "samples.jsonl", rows)
        (directory / "results.json").write_text('{"commit": "c0ffee"}')
    for method, seeds in run.seeds.items():
        for seed in seeds:
            directory = results / f"runs/{method}/seed{seed}"
            directory.mkdir(parents=True)
            cost = {"wall_seconds": 10.0 + seed, "peak_memory_mb": 100.0}
            cost |= {"num_generated_tokens": 1000 * seed, "num_teacher_tokens": 7}
            (directory / "provenance.json").write_text(json.dumps(cost))
            metrics = [{"rollout_batch": b, "reward": b / 4, "gamma": 0.1} for b in (1, 2, 3)]
            write_rows(directory / "metrics.jsonl", metrics)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run_compare(tmp_path: Path, run: CompareRun, correct: Correct) -> list[dict[str, str]]:
    """Write results, compare them and read comparison.csv."""
    write_results(tmp_path, run, correct)
    compare(run, tmp_path, tmp_path / "tables", tmp_path / "plots")
    with (tmp_path / "tables/comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(row: Mapping[str, str], *columns: str) -> list[float]:
    return [float(row[column]) for column in columns]


ONE_SEED: Correct = {("base", 0, "sums"): BASE, ("method", 0, "sums"): METHOD}


def test_one_seed_is_paired_by_question(tmp_path: Path) -> None:
    base, method = run_compare(tmp_path, study([0]), ONE_SEED)
    assert numbers(base, "mean", "n", "k", "seeds") == [0.5, 4, 2, 0]
    assert numbers(method, "mean", "n", "k", "seeds") == [0.875, 4, 2, 1]
    # Differences 0, 1, 1/2, 0: squares about 3/8 sum to 0.6875, se = sqrt(0.6875 / (4 * 3)).
    half = stats.t.ppf(0.975, 3) * (0.6875 / 12) ** 0.5
    difference = numbers(method, "diff_base", "diff_base_ci_low", "diff_base_ci_high")
    assert difference == pytest.approx([0.375, 0.375 - half, 0.375 + half])
    assert float(method["diff_base_p"]) == pytest.approx(2 * stats.t.sf(0.375 / 0.239357, 3), 1e-4)
    assert float(method["mde_base"]) == pytest.approx(half + 0.841621 * 0.239357, 1e-4)
    assert base["diff_base"] == base["diff_base_p"] == ""


def test_rates_of_a_method(tmp_path: Path) -> None:
    base, method = run_compare(tmp_path, study([0]), ONE_SEED)
    # Of the base's 8 answers 4 are wrong, and cut: both of q1 (no answer), one of q2 and q3 each.
    rates = numbers(base, "truncation_rate", "no_answer_rate", "error_rate", "mean_tokens")
    assert rates == [0.5, 0.25, 0.25, 11]
    # It never reflects: Wilson's upper end for 0 of 4, z^2 / (4 + z^2).
    z2 = 1.959964**2
    reflection = ("reflection_rate", "reflection_ci_low", "reflection_ci_high")
    assert numbers(base, *reflection) == pytest.approx([0, 0, z2 / (4 + z2)])
    assert numbers(method, *reflection) == [0.5, 0.5, 0.5]
    assert float(method["reflection_diff_base"]) == 0.5


def test_three_seeds_meet_one_baseline(tmp_path: Path) -> None:
    # K = 4; seeds add 0, 1/4, 1/2 to questions of 0 and 1/2; the base is always wrong.
    right = {0: [0, 0, 0, 0], 1: [1, 0, 0, 0], 2: [1, 1, 0, 0], 3: [1, 1, 1, 0], 4: [1, 1, 1, 1]}
    correct = {("method", s, "sums"): [right[s], right[s + 2]] for s in (0, 1, 2)}
    _, method = run_compare(
        tmp_path, study([0, 1, 2]), correct | {("base", 0, "sums"): [right[0], right[0]]}
    )
    # No interaction: var(mean) = 1/16 / 3 + 1/8 / 2 = 1/12. Mean squares 2/16 (seeds, 2 degrees of
    # freedom) and 3/8 (questions, 1): Satterthwaite's are (1/2)^2 / ((1/8)^2 / 2 + (3/8)^2).
    half = stats.t.ppf(0.975, 0.25 / (1 / 128 + 9 / 64)) * (1 / 12) ** 0.5
    difference = numbers(method, "diff_base", "diff_base_ci_low", "diff_base_ci_high")
    assert difference == pytest.approx([0.5, 0.5 - half, 0.5 + half])
    # The same scores as an accuracy: its interval ends at 0 and 1.
    assert numbers(method, "mean", "ci_low", "ci_high", "seeds") == [0.5, 0, 1, 3]


def test_p_values_are_exact_for_one_sample_and_corrected_over_tasks(tmp_path: Path) -> None:
    five = {("base", 0, "five"): [[0]] * 5 + [[1]], ("method", 0, "five"): [[1]] * 6}
    eight = {("base", 0, "eight"): [[0]] * 8 + [[1]], ("method", 0, "eight"): [[1]] * 9}
    rows = run_compare(tmp_path, study([0], ["five", "eight"]), five | eight)
    p = {row["task"]: float(row["diff_base_p"]) for row in rows if row["method"] == "method"}
    # McNemar: 2 / 2^5 = 1/16 and 2 / 2^8 = 1/128. Holm: the smaller twice, then the larger once.
    assert p["five"] == pytest.approx(1 / 16)
    assert p["eight"] == pytest.approx(2 / 128)
    mean = next(row for row in rows if (row["method"], row["task"]) == ("base", MEAN_OF_TASKS))
    assert numbers(mean, "mean", "n", "k") == pytest.approx([(1 / 6 + 1 / 9) / 2, 15, 1])


def test_mean_of_tasks_is_a_stratified_sample() -> None:
    rng = np.random.default_rng(0)
    large, small = rng.random((3, 1000)) * 0.2, 0.7 + rng.random((3, 200)) * 0.3
    both = pooled([large, small])
    assert both.mean(axis=1) == pytest.approx((large.mean(axis=1) + small.mean(axis=1)) / 2)
    expected = (large[0].var(ddof=1) / 1000 + small[0].var(ddof=1) / 200) ** 0.5 / 2
    assert stats.sem(both[0]) == pytest.approx(expected, rel=0.01)


def test_columns(tmp_path: Path) -> None:
    rows = run_compare(tmp_path, study([0]), ONE_SEED)
    assert list(rows[0]) == [
        *("method", "label", "task", "seeds", "n", "k", "mean", "ci_low", "ci_high"),
        *("reflection_rate", "reflection_ci_low", "reflection_ci_high", "mean_tokens"),
        *("truncation_rate", "no_answer_rate", "error_rate"),
        *("diff_base", "diff_base_ci_low", "diff_base_ci_high", "diff_base_p", "mde_base"),
        *("reflection_diff_base", "reflection_diff_base_ci_low", "reflection_diff_base_ci_high"),
    ]
    text = (tmp_path / "tables/comparison.md").read_text()
    assert "**One training seed** (0)" in text
    assert "`c0ffee`" in text
    assert "## sums (4 questions, 2 samples each)" in text
    assert "| a\\|b | 1 | 87.5 [47.7, 100.0] | 50.0 [50.0, 50.0] | 11 | 12.5 |" in text
    assert "| a\\|b | +37.5 [-38.7, +113.7] | 0.215 |" in text


def test_cost(tmp_path: Path) -> None:
    correct = {("method", s, "sums"): METHOD for s in (0, 1, 2)} | {("base", 0, "sums"): BASE}
    run_compare(tmp_path, study([0, 1, 2]), correct)
    assert (tmp_path / "tables/cost.csv").read_text().splitlines() == [
        "method,label,seed,wall_seconds,num_generated_tokens,num_teacher_tokens,peak_memory_mb",
        "method,a|b,0,10.0,0,7,100.0",
        "method,a|b,1,11.0,1000,7,100.0",
        "method,a|b,2,12.0,2000,7,100.0",
        "method,a|b,mean,11.0,1000.0,7.0,100.0",
    ]


def test_a_study_without_training(tmp_path: Path) -> None:
    run = study([])
    rows = run_compare(tmp_path, run, {("base", 3, "sums"): BASE, ("method", 3, "sums"): METHOD})
    assert [row["seeds"] for row in rows] == ["0", "0"]
    assert (tmp_path / "tables/cost.csv").read_text().count("\n") == 1
    assert (
        "No method of this study is trained" in (tmp_path / "plots/learning_curves.svg").read_text()
    )


def test_plots_hold_text_and_repeat(tmp_path: Path) -> None:
    run_compare(tmp_path, study([0]), ONE_SEED)
    compare(study([0]), tmp_path, tmp_path / "tables", tmp_path / "again")
    for name, expected in (
        ("accuracy", {"zero-shot", "a|b", "sums: accuracy", "sums: reflection"}),
        ("differences", {"a|b", "sums: minus zero-shot"}),
        ("learning_curves", {"a|b", "Reward after splicing", "one training seed"}),
    ):
        svg = (tmp_path / f"plots/{name}.svg").read_text()
        tags = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
        texts = {"".join(tag.itertext()).strip() for tag in tags}
        assert expected <= texts
        assert "Reward of the student's own text" not in texts  # metrics.jsonl does not have it
        assert svg == (tmp_path / f"again/{name}.svg").read_text()


def test_curve_is_the_mean_of_the_steps_of_a_batch() -> None:
    rows = [
        {"rollout_batch": 1, "reward": 0.2, "num_taught": 2, "num_rollouts": 8},
        {"rollout_batch": 1, "reward": 0.4, "num_taught": 2, "num_rollouts": 8},
        {"rollout_batch": 2, "reward": None, "num_taught": 0, "num_rollouts": 8},
    ]
    assert plots.curve(rows, "reward") == pytest.approx({1: 0.3})
    assert plots.curve(rows, "taught_share") == {1: 0.25, 2: 0.0}
    assert plots.curve(rows, "gamma") == {}


SAMPLES = "eval/method/seed0/sums/samples.jsonl"


@pytest.mark.parametrize(
    ("path", "damage", "message"),
    [
        (SAMPLES, lambda text: text.replace("q3", "q9"), "answers other questions than"),
        (SAMPLES, lambda text: text.split("\n", 1)[1], "4 questions with 1 to 2 samples"),
        (SAMPLES, lambda text: text.replace('"reflects"', '"reflex"'), "rows without reflects"),
        (SAMPLES, lambda text: "", "rows without id"),
        (SAMPLES, lambda text: text + "{", "is not valid JSON"),
        ("eval/base/seed0/sums/results.json", lambda text: "{}", "has no commit"),
        ("runs/method/seed0/provenance.json", lambda text: "{}", "has no wall_seconds"),
        ("runs/method/seed0/metrics.jsonl", lambda text: '{"step": 1}', "without rollout_batch"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, path: str, damage, message: str) -> None:
    run = study([0])
    write_results(tmp_path, run, ONE_SEED)
    file = tmp_path / path
    file.write_text(damage(file.read_text()))
    with pytest.raises(StudyError, match=message) as caught:
        compare(run, tmp_path, tmp_path / "tables", tmp_path / "plots")
    assert str(file) in str(caught.value)
    assert not (tmp_path / "tables").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    run = study([0])
    write_results(tmp_path, run, ONE_SEED)
    (tmp_path / SAMPLES).unlink()
    with pytest.raises(StudyError, match=SAMPLES):
        compare(run, tmp_path, tmp_path / "tables", tmp_path / "plots")
