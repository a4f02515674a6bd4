"""The comparison of answers: means, differences, intervals and p-values worked by hand."""

from pathlib import Path

import numpy as np
import pytest
from answered_study import METHOD, ONE_SEED, numbers, read, run_compare, study, write_results
from scipy import stats

from thinktuning.analysis.comparison import MEAN_OF_TASKS, pooled
from thinktuning.commands.compare import compare
from thinktuning.io.files import write_jsonl


def test_one_seed_is_paired_by_question(tmp_path: Path) -> None:
    base, method = run_compare(tmp_path, study([0]), ONE_SEED)
    assert numbers(base, "mean", "n", "k", "seeds") == [0.5, 4, 2, 0]
    assert numbers(method, "mean", "n", "k", "seeds") == [0.875, 4, 2, 1]
    # Differences 0, 1, 1/2, 0: squares about 3/8 sum to 0.6875, se = sqrt(0.6875 / (4 * 3)).
    half = stats.t.ppf(0.975, 3) * (0.6875 / 12) ** 0.5
    difference = numbers(method, "diff_base", "diff_base_ci_low", "diff_base_ci_high")
    assert difference == pytest.approx([0.375, 0.375 - half, 1])  # clipped from 1.14
    assert float(method["diff_base_p"]) == pytest.approx(2 * stats.t.sf(0.375 / 0.239357, 3), 1e-4)
    assert float(method["mde_base"]) == pytest.approx(half + 0.841621 * 0.239357, 1e-4)
    assert base["diff_base"] == base["diff_base_p"] == ""


def test_rates_are_shares_of_all_answers(tmp_path: Path) -> None:
    base, method = run_compare(tmp_path, study([0]), ONE_SEED)
    # 4 of the base's 8 answers are wrong and cut off: both of q1 (no answer), one each of q2, q3.
    rates = numbers(base, "truncation_rate", "no_answer_rate", "error_rate", "mean_tokens")
    assert rates == [0.5, 0.25, 0.25, 11]
    # It never reflects: Wilson's upper limit for 0 of 4 is z^2 / (4 + z^2).
    z2 = 1.959964**2
    reflection = ("reflection_rate", "reflection_ci_low", "reflection_ci_high")
    assert numbers(base, *reflection) == pytest.approx([0, 0, z2 / (4 + z2)])
    assert numbers(method, *reflection) == [0.5, 0.5, 0.5]
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
    # As an accuracy, the same scores have an interval clipped at 0 and 1.
    assert numbers(method, "mean", "ci_low", "ci_high", "seeds") == [0.5, 0, 1, 3]


def test_p_values_are_exact_for_one_sample_and_corrected_over_tasks(tmp_path: Path) -> None:
    five = {("base", 0, "five"): [[0]] * 5 + [[1]], ("method", 0, "five"): [[1]] * 6}
    eight = {("base", 0, "eight"): [[0]] * 8 + [[1]], ("method", 0, "eight"): [[1]] * 9}
    rows = run_compare(tmp_path, study([0], ["five", "eight"]), five | eight)
    p = {row["task"]: float(row["diff_base_p"]) for row in rows if row["method"] == "method"}
    # McNemar: 2 / 2^5 = 1/16 and 2 / 2^8 = 1/128. Holm doubles the smaller one only.
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


def test_pass_at_k_and_majority(tmp_path: Path) -> None:
    base, method = run_compare(tmp_path, study([0]), ONE_SEED)
    # The base solves three of four questions at least once. Its votes: right; none; twice a tie
    # between right and wrong: 1, 0, 1/2, 1/2.
    assert numbers(base, "pass_at_k", "maj_at_k") == [0.75, 0.5]
    assert numbers(method, "pass_at_k", "maj_at_k") == [1, 0.875]


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
        rows = [
            {"id": f"q{i}", "sample": 0, "lexical": lexical, "judge": judge}
            for i, (lexical, judge) in enumerate([*pairs, (none, None)])
        ]
        write_jsonl(tmp_path / f"eval/{method}/seed0/sums/judgments.jsonl", rows)
    compare(job, tmp_path, tmp_path / "tables", tmp_path / "plots")
    row = read(tmp_path / "tables/behaviors.csv")[0]
    assert numbers(row, "num_judged", "judge_missing_rate") == pytest.approx([4, 0.2])
    assert numbers(row, "judge_reflection_rate", "kappa_reflection") == pytest.approx([0.5, 0.5])
    assert numbers(row, "judge_rate_self_conflict", "kappa_self_conflict") == [0.5, 0.5]
    # Neither ever says yes, so chance would agree as well.
    assert (row["judge_rate_self_critique"], row["kappa_self_critique"]) == ("0.0", "")
