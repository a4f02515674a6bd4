"""Which rollouts are selected: how many per group, reproducibly, by each rule."""

import pytest

from thinktuning.algorithms.selection import select_rollouts


def test_the_number_selected_in_each_group():
    eligible = [True] * 8 + [False] * 8 + [True] + [False] * 7
    chosen = select_rollouts(eligible, 8, 0.4, "random", seed=0, t=0)
    # floor(0.4 * 8) = 3 of the first group, none of the second, at least one of the third
    assert [sum(i // 8 == g for i in chosen) for g in range(3)] == [3, 0, 1]
    assert all(eligible[i] for i in chosen)
    assert select_rollouts(eligible, 8, 0.0, "random", seed=0, t=0) == []


def test_selection_depends_on_seed_and_batch_only():
    eligible = [True] * 80

    def pick(seed, t):
        return select_rollouts(eligible, 8, 0.4, "random", seed=seed, t=t)

    assert pick(1, 5) == pick(1, 5)
    assert pick(1, 5) != pick(1, 6)
    assert pick(1, 5) != pick(2, 5)


def test_several_processes_select_what_one_process_would():
    eligible = [True] * 32
    whole = select_rollouts(eligible, 8, 0.4, "random", seed=3, t=7)
    second = select_rollouts(eligible[16:], 8, 0.4, "random", seed=3, t=7, first_group=2)
    assert [i + 16 for i in second] == [i for i in whole if i >= 16]


def test_rules():
    correct = [True] * 6 + [False] * 2 + [False] * 8
    eligible = [True] * 16
    wrong_first = select_rollouts(eligible, 8, 0.4, "wrong_first", seed=0, t=0, correct=correct)
    assert {6, 7} <= set(wrong_first)
    unknown = [None] * 6 + [False, True]  # no verdict: not known to be wrong
    for t in range(8):
        chosen = select_rollouts([True] * 8, 8, 1 / 8, "wrong_first", seed=0, t=t, correct=unknown)
        assert chosen == [6]
    all_wrong = select_rollouts(eligible, 8, 0.4, "all_wrong", seed=0, t=0, correct=correct)
    assert all_wrong and all(i >= 8 for i in all_wrong)
    with pytest.raises(ValueError, match="which answers are correct"):
        select_rollouts(eligible, 8, 0.4, "wrong_first", seed=0, t=0)
