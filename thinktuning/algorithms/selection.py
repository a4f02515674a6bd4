"""Select the rollouts of each group that the teacher is asked about.

Departure from the released code: the selection is seeded from (seed, t), not from the clock, so
that it is reproducible, also in a resumed run.

Shapes: P prompts, G generations.
"""

import math
import random
from collections.abc import Sequence

from thinktuning.algorithms.config import Selection


def select_rollouts(
    eligible: Sequence[bool],
    num_generations: int,
    rate: float,
    rule: Selection,
    *,
    seed: int,
    t: int,
    first_group: int = 0,
    correct: Sequence[bool | None] | None = None,
) -> list[int]:
    """Return the rollouts to teach, sorted: in each group max(1, floor(rate * num_eligible)).

    random:      any of the eligible ones (the paper)
    wrong_first: wrong ones before right ones
    all_wrong:   only in groups without a right answer, which give vanilla GRPO no gradient at all

    Args:
        eligible: (P * G,) grouped by prompt: the rollout ended by itself.
        num_generations: G.
        rate: the guidance rate; 0 selects none.
        rule: one of the rules above.
        seed: the training seed.
        t: the number of rollout batches before this one.
        first_group: the index of the first group in the global batch, so that processes draw
            differently.
        correct: (P * G,) the student's own answer is right; None without a verdict, which is not
            known to be wrong. Needed by all rules except `random`.

    Raises:
        ValueError: the rule needs `correct`, and it is None.
    """
    if rate <= 0:
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
            candidates.sort(key=lambda i: correct[i] is not False)
        chosen += candidates[: max(1, math.floor(rate * len(candidates) + 1e-9))]
    return sorted(chosen)
