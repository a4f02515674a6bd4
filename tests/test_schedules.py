"""Schedules at their corners, and the selection's guarantees."""

import math

import pytest

from thinktuning.schedules import gamma_at, scheduled_gamma, select_rollouts


def test_shapes_of_the_decay():
    # 30 batches, decay over the first third: d = 10; at t = 5, u = 1/2
    def at(t, kind):
        return scheduled_gamma(t, 30, kind, 0.4, 0.1, 1 / 3)

    for kind in ("linear", "exp", "cosine"):
        assert at(0, kind) == pytest.approx(0.4)
        assert at(10, kind) == pytest.approx(0.1)
        assert at(29, kind) == pytest.approx(0.1)
    assert at(5, "linear") == pytest.approx(0.25)
    assert at(5, "exp") == pytest.approx(0.4 * math.sqrt(0.25))
    assert at(5, "cosine") == pytest.approx(0.25)
    assert at(29, "constant") == 0.4


def test_decay_lasts_at_least_one_batch():
    assert scheduled_gamma(0, 2, "linear", 0.4, 0.1, 0.1) == pytest.approx(0.4)
    assert scheduled_gamma(1, 2, "linear", 0.4, 0.1, 0.1) == pytest.approx(0.1)


def test_the_released_recipe_teaches_for_nine_of_58_steps():
    # decay over 58 // 3 = 19 batches, off at 0.06: 0.1 - 0.09 * t / 19 > 0.06 for t <= 8
    released = dict(kind="linear", init=0.1, min=0.01, decay_fraction=1 / 3, cutoff=0.06)
    on = [t for t in range(58) if gamma_at(t, 58, **released) > 0]
    assert on == list(range(9))


def test_selection_counts_a_group():
    eligible = [True] * 8 + [False] * 8 + [True] + [False] * 7
    chosen = select_rollouts(eligible, 8, 0.4, seed=0, t=0, rule="random")
    # floor(0.4 * 8) = 3 of the first group, none of the second, at least one of the third
    assert [sum(i // 8 == g for i in chosen) for g in range(3)] == [3, 0, 1]
    assert all(eligible[i] for i in chosen)
    assert select_rollouts(eligible, 8, 0.0, seed=0, t=0, rule="random") == []


def test_selection_is_a_function_of_seed_and_batch():
    eligible = [True] * 80

    def pick(seed, t):
        return select_rollouts(eligible, 8, 0.4, seed=seed, t=t, rule="random")

    assert pick(1, 5) == pick(1, 5)
    assert pick(1, 5) != pick(1, 6)
    assert pick(1, 5) != pick(2, 5)


def test_a_process_with_later_groups_draws_what_one_process_would():
    eligible = [True] * 32
    whole = select_rollouts(eligible, 8, 0.4, seed=3, t=7, rule="random")
    second = select_rollouts(eligible[16:], 8, 0.4, seed=3, t=7, rule="random", first_group=2)
    assert [i + 16 for i in second] == [i for i in whole if i >= 16]


def test_rules():
    correct = [True] * 6 + [False] * 2 + [False] * 8
    eligible = [True] * 16
    wrong_first = select_rollouts(
        eligible, 8, 0.4, seed=0, t=0, correct=correct, rule="wrong_first"
    )
    assert {6, 7} <= set(wrong_first)
    all_wrong = select_rollouts(eligible, 8, 0.4, seed=0, t=0, correct=correct, rule="all_wrong")
    assert all_wrong and all(i >= 8 for i in all_wrong)
    with pytest.raises(ValueError, match="which answers are correct"):
        select_rollouts(eligible, 8, 0.4, seed=0, t=0, rule="wrong_first")
