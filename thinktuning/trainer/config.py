"""What a token budget counts and limits, without torch: the study and `plan` read it too.

tokens         generated: the student's rollouts, as it sampled them, and all that the teacher
               replied, also replies that were cut off or not used.
scored_tokens  through a model in the update, as stock TRL would compute them, without padding: each
               completion that is trained on, behind a prompt of its own, once per pass (`passes`).
               What an algorithm scores besides, it adds as the metric `extra_scored_tokens`.

What the trainer leaves out because it cannot change a gradient (`sparing`, `padding`) counts: the
currency is that of the method, and not of this implementation.
"""

from typing import Self

from pydantic import PositiveInt, model_validator

from thinktuning.io.section import Section

CURRENCIES = {"tokens": "generated tokens", "scored_tokens": "scored tokens"}


class TokenLimits(Section):
    """A training ends with the rollout batch that reaches one of these numbers."""

    tokens: PositiveInt | None = None
    scored_tokens: PositiveInt | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if all(value is None for value in dict(self).values()):
            known = (field.alias or name for name, field in type(self).model_fields.items())
            raise ValueError(f"limits nothing; give one of {', '.join(known)}")
        return self

    def limits(self) -> dict[str, int]:
        """Return currency -> the number of tokens that ends a training."""
        return {name: getattr(self, name) for name in CURRENCIES if getattr(self, name) is not None}


def passes(
    *,
    num_iterations: int,
    steps_per_generation: int,
    gradient_accumulation_steps: int,
    corrected: bool,
    beta: float,
) -> int:
    """Return how often stock TRL scores each token of a rollout batch.

    The loss does once in each of `num_iterations`. Old log-probabilities are one more, where
    several optimizer steps use a batch, or where vLLM's are corrected (`corrected`). So are those
    of the reference model, if `beta` is not 0.
    """
    uses = steps_per_generation * num_iterations
    old = corrected or gradient_accumulation_steps % uses != 0
    return num_iterations + old + (beta != 0)
