"""The comparison of answers: means, differences, intervals and p-values worked by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from answered_study import METHOD, ONE_SEED, numbers, read, run_compare, study, write_results
from scipy import stats

from thinktuning.analysis.comparison import MEAN_OF_TASKS
from thinktuning.analysis.variance import pooled
from thinktuning.commands.compare import compare
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, write_jsonl
from thinktuning.study.config import ComparisonConfig


def test_one_seed_is_paired_by_question(tmp_path: Path) -> None:
    base, method = run_compare(tmp_path, study([0]), ONE_SEED)
    assert numbers(base, "mean", "n", "k", "seeds") == [0.5, 4, 2, 0]
    assert numbers(method, "mean", "n", "k", "seeds") == [0.875, 4, 2, 1]
    # Differences 0, 1, 1/2, 0 and a question at each of -1 and 1: mean 1/4, squares about it sum to
    # 2 / 16 + 2 * 9 / 16 + 1 / 16 + 25 / 16 = 2.875, se = sqrt(2.875 / (6 * 5)).
    se = (2.875 / 30) ** 0.5
    half = stats.t.ppf(0.975, 3) * se
    difference = numbers(method, "diff_base", "diff_base_ci_low", "diff_base_ci_high")
    assert difference == pytest.approx([0.375, 0.25 - half, 1])  # clipped from 1.24
    p = 2 * stats.t.sf(0.25 / se, 3)
    assert numbers(method, "diff_base_p", "diff_base_p_holm") == pytest.approx([p, p])
    assert method["mde_base"] == ""  # four questions do not find 100 points in 80% of studies
    assert base["diff_base"] == base["diff_base_p"] == base["diff_base_p_holm"] == ""


def test_rates_are_shares_of_all_answers(tmp_path: Path) -> None:
    base, method = run_compare(tmp_path, study([0]), ONE_SEED)
    # 4 of the base's 8 answers are wrong and cut off: both of q1 (no answer), one each of q2, q3.
    rates = numbers(base, "truncation_rate", "no_answer_rate", "error_rate", "mean_tokens")
    assert rates == [0.5, 0.25, 0.25, 11]
    # It never reflects: the exact upper limit for 0 of 4 is 1 - 0.025^(1/4).
    reflection = ("reflection_rate", "reflection_ci_low", "reflection_ci_high")
    assert numbers(base, *reflection) == pytest.approx([0, 0, 1 - 0.025**0.25])
    # All four questions score 1/2, which does not prove that all questions do.
    rate, low, high = numbers(method, *reflection)
    assert low < rate == 0.5 < high and low + high == pytest.approx(1)
    assert float(method["reflection_diff_base"]) == 0.5


def test_three_seeds_against_an_untrained_baseline(tmp_path: Path) -> None:
    # K = 4. Questions score 0 and 1/2, plus 0, 1/4, 1/2 for the seeds; the base is always wrong.
    right = {0: [0, 0, 0, 0], 1: [1, 0, 0, 0], 2: [1, 1, 0, 0], 3: [1, 1, 1, 0], 4: [1, 1, 1, 1]}
    correct = {("method", s, "sums"): [right[s], right[s + 2]] for s in (0, 1, 2)}
    _, method = run_compare(
        tmp_path, study([0, 1, 2]), correct | {("base", 0, "sums"): [right[0], right[0]]}
    )
    # Two questions leave one degree of freedom: the interval is clipped on both sides.
    difference = numbers(method, "diff_base", "diff_base_ci_low", "diff_base_ci_high")
    assert difference == [0.5, -1, 1]
    mean, low, high, seeds = numbers(method, "mean", "ci_low", "ci_high", "seeds")
    assert (mean, seeds) == (0.5, 3) and low < 0.01 and high > 0.99
    assert method["seed_values"] == "0.25 0.5 0.75" == method["diff_base_seed_values"]


def test_p_values_are_adjusted_over_tasks_methods_and_baselines(tmp_path: Path) -> None:
    five = {("base", 0, "five"): [[0]] * 5 + [[1]], ("method", 0, "five"): [[1]] * 6}
    eight = {("base", 0, "eight"): [[0]] * 8 + [[1]], ("method", 0, "eight"): [[1]] * 9}
    job = study([0], ["five", "eight"])
    both = ComparisonConfig(baselines=["base", "method"])
    job = job.model_copy(update={"comparison": both})
    rows = run_compare(tmp_path, job, five | eight)
    p = {(row["method"], row["task"]): row for row in rows}
    by_task = {task: numbers(p["method", task], "diff_base_p")[0] for task in ("five", "eight")}
    assert by_task["five"] > 0.05 > by_task["eight"]
    # Holm doubles the smaller of two; base - method is the same hypothesis as method - base.
    for method, key in (("method", "diff_base_p"), ("base", "diff_method_p")):
        assert numbers(p[method, "five"], key, f"{key}_holm") == [by_task["five"]] * 2
        adjusted = numbers(p[method, "eight"], key, f"{key}_holm")
        assert adjusted == pytest.approx([by_task["eight"], 2 * by_task["eight"]])
    mean = p["method", MEAN_OF_TASKS]  # a family of its own
    assert mean["diff_base_p_holm"] == mean["diff_base_p"] != ""
    assert numbers(p["base", MEAN_OF_TASKS], "mean", "n", "k") == pytest.approx([5 / 36, 15, 1])


def test_an_interval_and_its_p_are_of_one_test(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tasks = [f"t{i}" for i in range(12)]
    for seeds in ([0], [0, 1, 2]):
        job, found = study(seeds, tasks), {}
        for i, task in enumerate(tasks):
            found["base", 0, task] = rng.binomial(1, 0.5, (20, 2)).tolist()
            for seed in seeds:
                found["method", seed, task] = rng.binomial(1, 0.5 + i / 30, (20, 2)).tolist()
        rows = run_compare(tmp_path / str(len(seeds)), job, found)
        outcomes = []
        for row in rows[1::2]:
            low, high, p = numbers(row, "diff_base_ci_low", "diff_base_ci_high", "diff_base_p")
            assert (p < 0.05) == (not low <= 0 <= high)
            outcomes.append(p < 0.05)
        assert set(outcomes) == {True, False}


TWENTY = [[1, 1], [1, 0]] * 10
NEVER = [[0, 0]] * 20


def test_two_seeds_are_shown_without_an_interval_over_seeds(tmp_path: Path) -> None:
    correct = {("method", 0, "sums"): TWENTY, ("method", 1, "sums"): [[1, 1]] * 20}
    job = study([0, 1])
    base, method = run_compare(tmp_path, job, correct | {("base", 0, "sums"): NEVER})
    assert method["seed_values"] == "0.75 1.0"
    empty = ["ci_low", "ci_high", "diff_base_ci_low", "diff_base_ci_high", "diff_base_p"]
    empty += ["diff_base_p_holm", "mde_base"]
    assert [method[key] for key in empty] == [""] * 7
    assert base["ci_high"] != ""  # over questions
    text = (tmp_path / "tables/comparison.md").read_text()
    assert "| a\\|b | 2 | 87.5 (seeds 75.0, 100.0) |" in text
    assert "| a\\|b | +87.5 (seeds +75.0, +100.0) | - | - | - |" in text
    assert r"a|b & $+87.5$ \\" in (tmp_path / "tables/comparison.tex").read_text()


def test_seeds_that_succeed_or_fail_are_counted(tmp_path: Path) -> None:
    correct = {("method", s, "sums"): [[1, 1]] * 20 for s in (0, 2)}
    correct |= {("method", 1, "sums"): NEVER, ("base", 0, "sums"): NEVER}
    base, method = run_compare(tmp_path, study([0, 1, 2]), correct)
    assert (method["ci_low"], method["diff_base_p"], method["diff_base_ci_low"]) == ("", "", "")
    exact = stats.binomtest(2, 3).proportion_ci(0.95, "exact")
    counted = numbers(method, "seeds_above", "seeds_above_ci_low", "seeds_above_ci_high")
    assert counted == pytest.approx([2, exact.low, exact.high])
    assert (method["seeds_threshold"], base["seeds_above"]) == ("0.5", "")
    text = (tmp_path / "tables/comparison.md").read_text()
    assert "66.7 (seeds 100.0, 0.0, 100.0)" in text
    assert "- a|b, accuracy: 2 of 3 seeds above 50% [9, 99]." in text
    assert "interval around their mean does not hold" in text


def test_methods_whose_seeds_agree_are_counted_by_the_same_threshold(tmp_path: Path) -> None:
    job = study([0, 1, 2])
    job = job.model_copy(
        update={
            "methods": job.methods | {"third": "third"},
            "seeds": job.seeds | {"third": [0, 1, 2]},
            "evaluated_seeds": job.evaluated_seeds | {"third": [0, 1, 2]},
        }
    )
    correct = {("third", s, "sums"): [[1, 1]] * 20 for s in (0, 1, 2)}
    correct |= {("method", s, "sums"): [[s % 2] * 2] * 20 for s in (0, 1, 2)}
    third = run_compare(tmp_path, job, correct | {("base", 0, "sums"): NEVER})[2]
    assert (
        "third, accuracy: 3 of 3 seeds above 50% [29, 100]."
        in (tmp_path / "tables/comparison.md").read_text()
    )
    assert third["ci_low"] != ""  # its own seeds do not split


def test_an_untrained_method_is_a_baseline_like_any_other(tmp_path: Path) -> None:
    """The base model asked to reflect, compared with every trained seed question by question."""
    job = study([0, 1, 2])
    job = job.model_copy(
        update={
            "methods": {"base": "zero-shot", "asked": "asked", "method": "a|b"},
            "seeds": job.seeds | {"asked": []},
            "evaluated_seeds": job.evaluated_seeds | {"asked": [0]},
            "comparison": ComparisonConfig(baselines=["base", "asked"]),
        }
    )
    correct = {("method", s, "sums"): TWENTY for s in (0, 1, 2)} | {("base", 0, "sums"): NEVER}
    rows = run_compare(tmp_path, job, correct | {("asked", 0, "sums"): [[0, 1]] * 20})
    base, asked, method = rows
    assert numbers(method, "diff_base", "diff_asked") == [0.75, 0.25]
    assert numbers(asked, "diff_base") == [0.5] and asked["diff_asked"] == ""
    assert numbers(base, "diff_asked") == [-0.5]
    for row, name in ((method, "asked"), (asked, "base"), (method, "base")):
        low, high, p = numbers(row, *(f"diff_{name}_{end}" for end in ("ci_low", "ci_high", "p")))
        assert abs(float(row[f"diff_{name}"])) > 0 and low < high and p < 0.01
    text = (tmp_path / "tables/comparison.md").read_text()
    assert "| minus asked | accuracy, points |" in text and "| a\\|b | +25.0 [" in text


def test_majorities_are_by_verified_equality(tmp_path: Path) -> None:
    job = study([0]).model_copy(update={"answer_kinds": {"sums": "latex"}})
    votes = {("base", 0, "sums"): [[1, 1, 0, 0, 0]] * 2, ("method", 0, "sums"): [[1] * 5] * 2}
    write_results(tmp_path, job, votes)
    path = tmp_path / "eval/base/seed0/sums/samples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    wrong = ["1/4", "0.25", "\\frac14"]
    rows = [
        row | {"answer": row["answer"] if row["correct"] else wrong[row["sample"] - 2]}
        for row in rows
    ]
    write_jsonl(path, rows)
    compare(job, tmp_path, tmp_path / "tables", tmp_path / "plots")
    assert numbers(read(tmp_path / "tables/comparison.csv")[0], "maj_at_k") == [0]


def test_mean_of_tasks_is_a_stratified_sample() -> None:
    rng = np.random.default_rng(0)
    large, small = rng.random((3, 1000)) * 0.2, 0.7 + rng.random((3, 200)) * 0.3
    both = pooled([large, small])
    assert both.mean(axis=1) == pytest.approx((large.mean(axis=1) + small.mean(axis=1)) / 2)
    expected = (large[0].var(ddof=1) / 1000 + small[0].var(ddof=1) / 200) ** 0.5 / 2
    assert stats.sem(both[0]) == pytest.approx(expected, rel=0.01)


def test_pass_at_k_and_majority(tmp_path: Path) -> None:
    base, method = run_compare(tmp_path, study([0]), ONE_SEED)
    # The base solves three of four questions at least once. Its votes: right; none; twice a tie
    # between right and wrong: 1, 0, 1/2, 1/2.
    assert numbers(base, "pass_at_k", "maj_at_k") == [0.75, 0.5]
    assert numbers(method, "pass_at_k", "maj_at_k") == [1, 0.875]
    # The method reflects in one of a question's two answers, the base in none.
    assert numbers(method, "reflection_rate", "reflection_pass_at_k") == [0.5, 1]
    assert numbers(base, "reflection_pass_at_k") == [0]


def test_subsets_of_a_task(tmp_path: Path) -> None:
    run_compare(tmp_path, study([0]), ONE_SEED)
    base, method = read(tmp_path / "tables/subsets.csv")
    assert (base["task"], base["subset"], base["n"]) == ("sums", "easy", "2")
    assert numbers(base, "mean") == [0.5]  # q0 and q1: 1, 0
    assert numbers(method, "mean", "diff_base") == [1, 0.5]
    assert base["diff_base"] == ""


def test_answer_changes(tmp_path: Path) -> None:
    run_compare(tmp_path, study([0]), ONE_SEED)
    base, method = read(tmp_path / "tables/flips.csv")
    shares = ("wrong_to_right", "right_to_wrong", "right_to_right", "wrong_to_wrong")
    # 6 of the base's 8 answers are committed: both of q0 are right, one each of q2 and q3.
    assert numbers(base, "committed_rate", *shares) == pytest.approx([0.75, 1 / 3, 0, 1 / 3, 1 / 3])
    assert numbers(method, "committed_rate", *shares) == [1, 4 / 8, 0, 3 / 8, 1 / 8]


def test_answer_changes_are_empty_without_committed_answers(tmp_path: Path) -> None:
    never = {("base", 0, "sums"): [[0, 0]] * 4, ("method", 0, "sums"): METHOD}
    write_results(tmp_path, study([0]), never)
    samples = tmp_path / "eval/base/seed0/sums/samples.jsonl"
    samples.write_text(samples.read_text().replace('first_correct": false', 'first_correct": null'))
    compare(study([0]), tmp_path, tmp_path / "tables", tmp_path / "plots")
    base = read(tmp_path / "tables/flips.csv")[0]
    assert (base["committed_rate"], base["wrong_to_right"]) == ("0.0", "")


def test_a_mean_of_tasks_is_over_all_of_them_or_empty(tmp_path: Path) -> None:
    job = study([0], ["sums", "more"])
    never = {("base", 0, "more"): [[0, 0]] * 4, ("method", 0, "more"): METHOD}
    write_results(tmp_path, job, ONE_SEED | never)
    samples = tmp_path / "eval/base/seed0/more/samples.jsonl"
    samples.write_text(samples.read_text().replace('first_correct": false', 'first_correct": null'))
    compare(job, tmp_path, tmp_path / "tables", tmp_path / "plots")
    *_, base, method = read(tmp_path / "tables/flips.csv")
    assert (base["task"], base["committed_rate"]) == (MEAN_OF_TASKS, "0.375")
    assert base["wrong_to_right"] == "" and method["wrong_to_right"] == "0.5"


def test_behaviors(tmp_path: Path) -> None:
    run_compare(tmp_path, study([0]), ONE_SEED)
    base, method = read(tmp_path / "tables/behaviors.csv")
    assert numbers(base, "mean_words", "mean_tokens", "self_conflict_rate") == [1, 11, 0]
    # Four answers of five words, with one conflict each, and four of one word; 88 tokens in all.
    assert numbers(method, "mean_words", "self_conflict_rate", "self_critique_rate") == [3, 0.5, 0]
    rates = ("self_conflict", "backtracking", "verification", "subgoals")
    found = numbers(method, *(f"{name}_per_1000_tokens" for name in rates))
    assert found == pytest.approx([4000 / 88, 4000 / 88, 4000 / 88, 0])
    assert "kappa_reflection" not in base


def test_a_judge_is_compared_with_the_detector(tmp_path: Path) -> None:
    job = study([0]).model_copy(update={"judged": True})
    write_results(tmp_path, job, ONE_SEED)
    conflict, none = ["self_conflict"], []
    # Both say yes twice and no once, and differ once: observed agreement 3/4, expected by chance
    # 3/4 * 2/4 + 1/4 * 2/4 = 1/2, kappa = (3/4 - 1/2) / (1 - 1/2). One reply is missing.
    pairs = [(conflict, conflict), (conflict, conflict), (conflict, none), (none, none)]
    for method in ("base", "method"):
        samples = tmp_path / f"eval/{method}/seed0/sums/samples.jsonl"
        rows, judged = list(read_jsonl(samples)), []
        for row, (lexical, judge) in zip(rows, [*pairs, (none, None)], strict=False):
            row |= {"behaviors": lexical, "reflects": bool(lexical)}
            names = {"id": row["id"], "sample": row["sample"]}
            judged.append(names | {"lexical": lexical, "judge": judge})
        write_jsonl(samples, rows)
        write_jsonl(samples.with_name("judgments.jsonl"), judged)
    compare(job, tmp_path, tmp_path / "tables", tmp_path / "plots")
    row = read(tmp_path / "tables/behaviors.csv")[0]
    assert numbers(row, "num_judged", "judge_missing_rate") == pytest.approx([4, 0.2])
    assert numbers(row, "judge_reflection_rate", "kappa_reflection") == pytest.approx([0.5, 0.5])
    assert numbers(row, "judge_rate_self_conflict", "kappa_self_conflict") == [0.5, 0.5]
    # Neither ever says yes, so chance would agree as well.
    assert (row["judge_rate_self_critique"], row["kappa_self_critique"]) == ("0.0", "")

    # those of other answers, as of another method
    write_jsonl(samples.with_name("judgments.jsonl"), [judged[0] | {"lexical": none}, *judged[1:]])
    with pytest.raises(StudyError, match=r"judgments\.jsonl: is not of the answers beside it"):
        compare(job, tmp_path, tmp_path / "tables", tmp_path / "plots")
