"""A zero-variance filter: groups whose rewards are all equal are sampled again.

In such a group every advantage is 0, so its completions teach nothing. DAPO (Yu et al. 2025, arXiv
2503.14476, dynamic sampling) draws other questions until the batch is full of groups with both
right and wrong answers.

Departure: here the same question is sampled again, at most `max_resamplings` times, so that the
batch keeps its size and its questions, and a resumed run its order of questions. A question that is
always answered right, or never, stays as it is.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from accelerate.utils import gather_object

from thinktuning.algorithms.batch import RolloutBatch


def resample_equal(
    batch: RolloutBatch,
    prompt_ids: Sequence[list[int]],
    rounds: int,
    sample: Callable[[list[list[int]]], tuple[Any, Any]],
) -> None:
    """Sample groups with equal rewards again, until they are not or `rounds` are over.

    Every process must call this; those with fewer such groups sample their first group along, and
    drop what they get. Discarded completions are counted in `resampled_tokens`, and groups in
    `num_resampled`, once for each time.

    Args:
        batch: what was sampled; changed in place.
        prompt_ids: (P * G,) the tokens of the rows' prompts.
        rounds: how often a group may be sampled again.
        sample: TRL's sampling; returns completions and, if its engine has them, log-probabilities.
    """
    size = batch.num_generations
    for _ in range(rounds):
        rewards = batch.grade(batch.student_ids)
        starts = range(0, len(rewards), size)
        equal = [start for start in starts if all_equal(rewards[start : start + size])]
        missing = max(gather_object([len(equal)])) - len(equal)
        asked = [row for start in [*equal, *[0] * missing] for row in range(start, start + size)]
        if not asked:
            return
        completion_ids, logprobs = sample([prompt_ids[row] for row in asked])
        for place, row in enumerate(asked[: len(equal) * size]):
            batch.metrics["resampled_tokens"] += len(batch.student_ids[row])
            batch.student_ids[row] = list(completion_ids[place])
            batch.completion_ids[row] = list(completion_ids[place])
            if batch.logprobs is not None:
                batch.logprobs[row] = logprobs[place]
        batch.metrics["num_resampled"] += len(equal)


def all_equal(rewards: Sequence[float]) -> bool:
    """Tell whether a group's rewards are all equal; those without a verdict (NaN) do not count."""
    return len({reward for reward in rewards if not math.isnan(reward)}) < 2
