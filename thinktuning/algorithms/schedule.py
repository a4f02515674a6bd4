"""The guidance rate: the share of each group's eligible rollouts that the teacher teaches.

t counts rollout batches, not optimizer steps; under a token budget it is the used share of it times
num_batches, so that the rate falls with the budget however large max_steps is.
With d = max(1, floor(decay_fraction * num_batches)) and u = min(t, d) / d:

    constant  init
    linear    init - (init - min) * u
    exp       init * (max(1e-8, min) / init) ** u
    cosine    min + (init - min) * (1 + cos(pi * u)) / 2

From the first t with a rate <= cutoff on, the rate is 0 and training is vanilla GRPO.

The paper calls the rate gamma_t; here gamma always means that of `shaping`. Departure from the
released code: the cutoff is a value of the rate (0.06 there: eps 0.05 + 0.01).
"""

import math

from thinktuning.algorithms.config import ScheduleConfig

ROUNDING = 1e-9  # 0.1 - 0.09 * 4 / 9 is above 0.06, and 0.1 - (0.1 - 0.02) above 0.02


def guidance_rate(schedule: ScheduleConfig, t: float, num_batches: int) -> float:
    """Return the rate, 0 past the cutoff; no schedule rises, so it depends on t alone."""
    rate = decayed_rate(schedule, t, num_batches)
    return 0.0 if schedule.cutoff is not None and rate <= schedule.cutoff + ROUNDING else rate


def decayed_rate(schedule: ScheduleConfig, t: float, num_batches: int) -> float:
    """Return the rate before the cutoff."""
    init, minimum = schedule.init, schedule.min
    decay = max(1, math.floor(schedule.decay_fraction * num_batches + ROUNDING))
    u = min(t, decay) / decay
    match schedule.kind:
        case "constant":
            return init
        case "linear":
            return init - (init - minimum) * u
        case "exp":
            return float(init * (max(1e-8, minimum) / init) ** u) if init else 0.0
        case "cosine":
            return minimum + (init - minimum) * (1 + math.cos(math.pi * u)) / 2
