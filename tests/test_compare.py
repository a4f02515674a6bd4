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
from thinktuning.config import CompareRun
from thinktuning.errors import StudyError
from thinktuning.schema import Comparison
from thinktuning.tables import escaped, header

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
        evaluated_seeds={"base": [*seeds, 0][:1], "method": list(seeds) or [0]},
        tasks=list(tasks),
        comparison=Comparison(baselines=["base"]),
    )


def write_results(results: Path, run: CompareRun, correct: Correct) -> None:
    """Write what the earlier stages leave.

    The method reflects in each question's first sample. First answers are right in these alone;
    question 1 has none where the last is wrong. Questions 0 and 1 are of the subset "easy".
    """
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
                "behaviours": ["self_conflict"] * (method == "method" and k == 0),
                "text": "Wait, let me check. Yes." if method == "method" and k == 0 else "No.",
                "answer": "7" if right else None if i == 1 else str(k),
                "first_correct": None if i == 1 and not right else bool(right and k == 0),
                "subset": "easy" if i < 2 else "",
            }
            for i, samples in enumerate(questions)
            for k, right in enumerate(samples)
        ]
        write_rows(directory / "samples.jsonl", rows)
        made = {"commit": "c0ffee", "wall_seconds": 5.0 + seed, "peak_memory_mb": 50.0 + seed}
        made |= {"n": len(questions), "k": len(questions[0]), "mean_tokens": 11.0}
        (directory / "results.json").write_text(json.dumps(made))
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
    assert difference == pytest.approx([0.375, 0.375 - half, 1])  # of 1.14
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
    # Two questions say little: with one degree of freedom the interval is as wide as it can be.
    difference = numbers(method, "diff_base", "diff_base_ci_low", "diff_base_ci_high")
    assert difference == [0.5, -1, 1]
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
        *("reflection_rate", "reflection_ci_low", "reflection_ci_high"),
        *(
            "pass_at_k",
            "maj_at_k",
            "mean_tokens",
            "truncation_rate",
            "no_answer_rate",
            "error_rate",
        ),
        *("diff_base", "diff_base_ci_low", "diff_base_ci_high", "diff_base_p", "mde_base"),
        *("reflection_diff_base", "reflection_diff_base_ci_low", "reflection_diff_base_ci_high"),
        "published_base",
    ]
    text = (tmp_path / "tables/comparison.md").read_text()
    assert "**One training seed** (0)" in text
    assert "`c0ffee`" in text
    assert "## sums (4 questions, 2 samples each)" in text
    assert "| a\\|b | 1 | 87.5 [47.7, 100.0] | 50.0 [50.0, 50.0] | 11 | 12.5 |" in text
    assert "| a\\|b | +37.5 [-38.7, +100.0] | 0.215 |" in text


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_pass_and_majority(tmp_path: Path) -> None:
    base, method = run_compare(tmp_path, study([0]), ONE_SEED)
    # The base solves three of four questions at least once. Its votes: right; none; a tie of right
    # and wrong, twice: 1, 0, 1/2, 1/2.
    assert numbers(base, "pass_at_k", "maj_at_k") == [0.75, 0.5]
    assert numbers(method, "pass_at_k", "maj_at_k") == [1, 0.875]


def test_flips(tmp_path: Path) -> None:
    run_compare(tmp_path, study([0]), ONE_SEED)
    base, method = read(tmp_path / "tables/flips.csv")
    shares = ("wrong_to_right", "right_to_wrong", "right_to_right", "wrong_to_wrong")
    # Of the base's 8 answers 6 commit: q0 both ways right, q2 and q3 each one right, one wrong.
    assert numbers(base, "committed_rate", *shares) == pytest.approx([0.75, 1 / 3, 0, 1 / 3, 1 / 3])
    assert numbers(method, "committed_rate", *shares) == [1, 4 / 8, 0, 3 / 8, 1 / 8]


def test_nobody_commits_to_an_answer(tmp_path: Path) -> None:
    never = {("base", 0, "sums"): [[0, 0]] * 4, ("method", 0, "sums"): METHOD}
    write_results(tmp_path, study([0]), never)
    samples = tmp_path / "eval/base/seed0/sums/samples.jsonl"
    samples.write_text(samples.read_text().replace('first_correct": false', 'first_correct": null'))
    compare(study([0]), tmp_path, tmp_path / "tables", tmp_path / "plots")
    base = read(tmp_path / "tables/flips.csv")[0]
    assert (base["committed_rate"], base["wrong_to_right"]) == ("0.0", "")


def test_behaviours(tmp_path: Path) -> None:
    run_compare(tmp_path, study([0]), ONE_SEED)
    base, method = read(tmp_path / "tables/behaviours.csv")
    assert numbers(base, "mean_words", "mean_tokens", "self_conflict_rate") == [1, 11, 0]
    # Four answers of five words, four of one; one conflict in each of the four, 88 tokens in all.
    assert numbers(method, "mean_words", "self_conflict_rate", "self_critique_rate") == [3, 0.5, 0]
    rates = ("self_conflict", "backtracking", "verification", "subgoals")
    found = numbers(method, *(f"{name}_per_1000_tokens" for name in rates))
    assert found == pytest.approx([4000 / 88, 4000 / 88, 4000 / 88, 0])
    assert "kappa_reflection" not in base


def test_a_judges_opinion_stands_beside_the_detectors(tmp_path: Path) -> None:
    run = study([0]).model_copy(update={"judged": True})
    write_results(tmp_path, run, ONE_SEED)
    conflict, none = ["self_conflict"], []
    # Both say yes twice and no once, they differ once: agreement 3/4, by chance
    # 3/4 * 2/4 + 1/4 * 2/4 = 1/2, kappa = (3/4 - 1/2) / (1 - 1/2). One reply is missing.
    pairs = [(conflict, conflict), (conflict, conflict), (conflict, none), (none, none)]
    for method in ("base", "method"):
        rows = [
            {"id": f"q{i}", "sample": 0, "lexical": lexical, "judge": judge}
            for i, (lexical, judge) in enumerate([*pairs, (none, None)])
        ]
        write_rows(tmp_path / f"eval/{method}/seed0/sums/judgements.jsonl", rows)
    compare(run, tmp_path, tmp_path / "tables", tmp_path / "plots")
    row = read(tmp_path / "tables/behaviours.csv")[0]
    assert numbers(row, "num_judged", "judge_missing_rate") == pytest.approx([4, 0.2])
    assert numbers(row, "judge_reflection_rate", "kappa_reflection") == pytest.approx([0.5, 0.5])
    assert numbers(row, "judge_rate_self_conflict", "kappa_self_conflict") == [0.5, 0.5]
    # Neither ever says it: chance would agree as well
    assert (row["judge_rate_self_critique"], row["kappa_self_critique"]) == ("0.0", "")


def test_parts_of_a_task(tmp_path: Path) -> None:
    run_compare(tmp_path, study([0]), ONE_SEED)
    base, method = read(tmp_path / "tables/subsets.csv")
    assert (base["task"], base["subset"], base["n"]) == ("sums", "easy", "2")
    assert numbers(base, "mean") == [0.5]  # of q0 and q1: 1, 0
    assert numbers(method, "mean", "diff_base") == [1, 0.5]
    assert base["diff_base"] == ""


def test_published_differences_and_surprises(tmp_path: Path) -> None:
    comparison = Comparison(
        baselines=["base"],
        published={"method": {"base": {"sums": 2.08}}},
        expected={"base": {"sums": [70, 80]}, "method": {"sums": [80, 90]}},
    )
    run = study([0]).model_copy(update={"comparison": comparison})
    rows = run_compare(tmp_path, run, ONE_SEED)
    assert [row["published_base"] for row in rows] == ["", "0.0208"]
    text = (tmp_path / "tables/comparison.md").read_text()
    assert "| reflects, points | published, points |" in text and "| +2.08 |" in text
    assert text.count("is outside the expected") == 1
    assert "**zero-shot on sums: 50.0 % is outside the expected 70 to 80 %.**" in text
    assert "50 % of the answers reached the token limit" in text
    assert "the grader failed on some" in text


def test_latex(tmp_path: Path) -> None:
    run_compare(tmp_path, study([0]), ONE_SEED)
    text = (tmp_path / "tables/comparison.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 2
    assert r"a|b & $87.5$ {\scriptsize $[47.7, 100.0]$} \\" in text
    assert r"a|b & $+37.5$ {\scriptsize $[-38.7, +100.0]$} \\" in text
    assert escaped("50% of a_b & {c}") == r"50\% of a\_b \& \{c\}"


def test_cost(tmp_path: Path) -> None:
    correct = {("method", s, "sums"): METHOD for s in (0, 1, 2)} | {("base", 0, "sums"): BASE}
    run_compare(tmp_path, study([0, 1, 2]), correct)
    assert (tmp_path / "tables/cost.csv").read_text().splitlines() == [
        "method,label,stage,seed,wall_seconds,num_generated_tokens,num_teacher_tokens,peak_memory_mb",
        "base,zero-shot,evaluate,mean,5.0,88.0,0.0,50.0",
        "method,a|b,train,0,10.0,0,7,100.0",
        "method,a|b,train,1,11.0,1000,7,100.0",
        "method,a|b,train,2,12.0,2000,7,100.0",
        "method,a|b,train,mean,11.0,1000.0,7.0,100.0",
        "method,a|b,evaluate,0,5.0,88,0,50.0",
        "method,a|b,evaluate,1,6.0,88,0,51.0",
        "method,a|b,evaluate,2,7.0,88,0,52.0",
        "method,a|b,evaluate,mean,6.0,88.0,0.0,51.0",
    ]


def test_a_study_without_training(tmp_path: Path) -> None:
    """Its methods are evaluated under the first seed; what another one left is not read."""
    rows = run_compare(tmp_path, study([]), ONE_SEED | {("base", 5, "sums"): [[0, 0]]})
    assert [row["seeds"] for row in rows] == ["0", "0"]
    assert [float(row["mean"]) for row in rows] == [0.5, 0.875]
    assert {row["stage"] for row in read(tmp_path / "tables/cost.csv")} == {"evaluate"}
    assert (
        "No method of this study is trained" in (tmp_path / "plots/learning_curves.svg").read_text()
    )


@pytest.mark.parametrize("num_seeds", [1, 2, 3])
def test_few_seeds_are_warned_of(num_seeds: int) -> None:
    text = header(study(list(range(num_seeds))), ["c0ffee"])
    assert ("**One training seed**" in text) == (num_seeds == 1)
    assert ("Two that agree by chance" in text) == (num_seeds == 2)


def test_plots_hold_text_and_repeat(tmp_path: Path) -> None:
    run_compare(tmp_path, study([0]), ONE_SEED)
    compare(study([0]), tmp_path, tmp_path / "tables", tmp_path / "again")
    for name, expected in (
        ("accuracy", {"zero-shot", "a|b", "sums: accuracy", "sums: reflection"}),
        ("differences", {"a|b", "sums: minus zero-shot"}),
        ("flips", {"a|b", "sums", "wrong to right", "% of committed answers"}),
        ("learning_curves", {"a|b", "Reward after splicing", "one training seed"}),
    ):
        svg = (tmp_path / f"plots/{name}.svg").read_text()
        tags = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
        texts = {"".join(tag.itertext()).strip() for tag in tags}
        assert expected <= texts
        assert "Reward of the student's own text" not in texts  # metrics.jsonl does not have it
        assert svg == (tmp_path / f"again/{name}.svg").read_text()


def test_every_column_of_flips_says_its_scale() -> None:
    shares = dict.fromkeys(plots.FLIP_COLOURS, 0.25)
    rows = [{"task": task, "method": "a", "label": "a"} | shares for task in ("x", "y", "mean")]
    tags = ElementTree.fromstring(plots.flips(rows)).iter("{http://www.w3.org/2000/svg}text")
    texts = ["".join(tag.itertext()).strip() for tag in tags]
    assert texts.count("% of committed answers") == texts.count("100") == 2


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
        (SAMPLES, lambda text: text.replace('"first_correct"', '"first"'), "without first_correct"),
        (SAMPLES, lambda text: "", "rows without id"),
        (SAMPLES, lambda text: text + "{", "is not valid JSON"),
        ("eval/base/seed0/sums/results.json", lambda text: "{}", "has no wall_seconds"),
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
