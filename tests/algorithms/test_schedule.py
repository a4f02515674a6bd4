"""Guidance schedules at their start, middle and end."""

import math

import pytest

from thinktuning.algorithms.config import ScheduleConfig
from thinktuning.algorithms.schedule import decayed_rate, guidance_rate


def test_shapes_of_the_decay():
    # 30 batches, decay over the first third: d = 10; at t = 5, u = 1/2
    def at(t, kind):
        schedule = ScheduleConfig(kind=kind, init=0.4, min=0.1, decay_fraction=1 / 3)
        return decayed_rate(schedule, t, 30)

    for kind in ("linear", "exp", "cosine"):
        assert at(0, kind) == pytest.approx(0.4)
        assert at(10, kind) == pytest.approx(0.1)
        assert at(29, kind) == pytest.approx(0.1)
    assert at(5, "linear") == pytest.approx(0.25)
    assert at(5, "exp") == pytest.approx(0.4 * math.sqrt(0.25))
    assert at(5, "cosine") == pytest.approx(0.25)
    assert at(29, "constant") == 0.4


def test_decay_lasts_at_least_one_batch():
    schedule = ScheduleConfig(kind="linear", init=0.4, min=0.1, decay_fraction=0.1)
    assert decayed_rate(schedule, 0, 2) == pytest.approx(0.4)
    assert decayed_rate(schedule, 1, 2) == pytest.approx(0.1)


def test_the_released_recipe_teaches_for_nine_of_58_steps():
    # decay over 58 // 3 = 19 batches, off at 0.06: 0.1 - 0.09 * t / 19 > 0.06 for t <= 8
    released = ScheduleConfig(kind="linear", init=0.1, min=0.01, decay_fraction=1 / 3, cutoff=0.06)
    on = [t for t in range(58) if guidance_rate(released, t, 58) > 0]
    assert on == list(range(9))


@pytest.mark.parametrize(
    ("kind", "init", "minimum", "cutoff", "on"),
    [
        ("linear", 0.1, 0.01, 0.06, 4),  # the default: 0.1 - 0.09 * 4 / 9 is 0.06
        ("linear", 0.1, 0.02, 0.02, 9),
        ("cosine", 0.3, 0.1, 0.2, 5),  # at t = 4.5 half is left
        ("exp", 0.4, 0.1, 0.1, 9),
        ("exp", 0.3, 0.1, 0.1, 9),
    ],
)
def test_a_rate_that_reaches_the_cutoff_is_off(kind, init, minimum, cutoff, on):
    """In spite of rounding: 0.1 - (0.1 - 0.02) is above 0.02, so that a teacher never left."""
    schedule = ScheduleConfig(
        kind=kind, init=init, min=minimum, decay_fraction=1 / 3, cutoff=cutoff
    )
    rates = [guidance_rate(schedule, t, 27) for t in range(27)]  # decay over 9
    assert [rate > 0 for rate in rates] == [t < on for t in range(27)]


@pytest.mark.parametrize(("init", "cutoff"), [(0.05, 0.06), (0.06, 0.06), (0.4, 1.0)])
def test_a_cutoff_from_the_first_batch_on_is_refused(init, cutoff):
    """Such a method would be vanilla GRPO under another name."""
    with pytest.raises(ValueError, match=r"cutoff = .* is not below init = .*the first batch"):
        ScheduleConfig(init=init, min=0.0, cutoff=cutoff)
    assert guidance_rate(ScheduleConfig(init=init, min=0.0, cutoff=None), 0, 10) == init
    assert guidance_rate(ScheduleConfig(init=0.0, min=0.0), 0, 10) == 0  # asked for
