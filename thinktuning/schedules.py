"""When the teacher teaches: gamma_t, the share of each group's eligible rollouts that is taught,
and who they are.

t counts rollout batches, not optimiser steps. With d = max(1, floor(decay_fraction * num_batches))
and u = min(t, d) / d:

    constant  init
    linear    init - (init - min) * u
    exp       init * (max(1e-8, min) / init) ** u
    cosine    min + (init - min) * (1 + cos(pi * u)) / 2

From the first t with gamma_t <= cutoff on, the teacher is off for good (0): vanilla GRPO.

Departures from the released code: the selection is seeded from (seed, t), not from the clock, so
that it repeats and resumes; the cut-off is a value of gamma_t (0.06 there: eps 0.05 + 0.01).

Shapes: P prompts, G generations.
"""

import math
import random
from collections.abc import Sequence
from typing import Literal

Kind = Literal["constant", "linear", "exp", "cosine"]
Rule = Literal["random", "wrong_first", "all_wrong"]


def scheduled_gamma(
    t: int, num_batches: int, kind: Kind, init: float, minimum: float, decay_fraction: float
) -> float:
    """Return gamma_t before the cut-off."""
    decay = max(1, math.floor(decay_fraction * num_batches + 1e-9))
    u = min(t, decay) / decay
    if kind == "constant":
        return init
    if kind == "linear":
        return init - (init - minimum) * u
    if kind == "exp":
        return init * (max(1e-8, minimum) / init) ** u if init else 0.0
    return minimum + (init - minimum) * (1 + math.cos(math.pi * u)) / 2


def gamma_at(
    t: int,
    num_batches: int,
    *,
    kind: Kind,
    init: float,
    min: float,
    decay_fraction: float,
    cutoff: float | None,
) -> float:
    """Return gamma_t, 0 past the cut-off; schedules only fall, so t alone decides."""
    gamma = scheduled_gamma(t, num_batches, kind, init, min, decay_fraction)
    return 0.0 if cutoff is not None and gamma <= cutoff else gamma


def select_rollouts(
    eligible: Sequence[bool],
    num_generations: int,
    gamma: float,
    *,
    seed: int,
    t: int,
    first_group: int = 0,
    correct: Sequence[bool] | None = None,
    rule: Rule,
) -> list[int]:
    """Return the rollouts to teach, sorted: in each group max(1, floor(gamma * num_eligible)) of
    the eligible ones.

    random:      any of them (the paper)
    wrong_first: wrong ones before right ones
    all_wrong:   only in groups without a right answer, which give vanilla GRPO no gradient at all

    Args:
        eligible: (P * G,) grouped by prompt: the rollout ended by itself.
        first_group: number of the first group in the global batch, so that processes draw
            differently.
        correct: (P * G,) the student's own answer is right; needed by all rules but `random`.
    """
    if gamma <= 0:
        return []
    if rule != "random" and correct is None:
        raise ValueError(f"selection rule {rule!r} needs to know which answers are correct")
    chosen: list[int] = []
    for start in range(0, len(eligible), num_generations):
        group = range(start, start + num_generations)
        candidates = [i for i in group if eligible[i]]
        if not candidates or (rule == "all_wrong" and correct and any(correct[i] for i in group)):
            continue
        rng = random.Random(f"{seed}/{t}/{first_group + start // num_generations}")
        rng.shuffle(candidates)
        if rule == "wrong_first" and correct:
            candidates.sort(key=lambda i: correct[i])
        chosen += candidates[: max(1, math.floor(gamma * len(candidates) + 1e-9))]
    return sorted(chosen)
