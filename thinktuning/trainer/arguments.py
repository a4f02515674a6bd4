"""ThinkTuningConfig: the arguments of `ThinkTuningTrainer`, in addition to TRL's own."""

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from pydantic import TypeAdapter
from transformers import TrainingArguments
from trl import GRPOConfig, GRPOTrainer

from thinktuning.algorithms import AnyAlgorithmConfig
from thinktuning.algorithms.config import AlgorithmConfig
from thinktuning.trainer.config import TokenLimits


@dataclass
class ThinkTuningConfig(GRPOConfig):
    """`trl.GRPOConfig` with the defaults of the paper's recipe, and the algorithm's arguments.

    Args:
        algorithm: an algorithm's section as in a study (a config object, a mapping, or JSON):
            `{"type": "thinktuning", "schedule": {...}}`. None is vanilla GRPO. Stored as a mapping,
            so that it serializes.
        teacher_prompt: the teacher's prompt: a packaged prompt's name, or the path of a file.
        teacher_behaviors: how many exemplars of each behavior to show; None shows one of each.
        reseed_each_epoch: seed each epoch's order of questions separately, so that a run resumed in
            a later epoch uses that epoch's order; stock TRL replays the first epoch's.
        max_logp_difference: with vLLM, stop if its log-probabilities of sampled tokens differ from
            the trainer's by more nats than this on average: its weights are others. None: only log.
        budget: tokens that end training, a mapping (or JSON) with `tokens`, `scored_tokens` or both
            (`thinktuning.trainer.config`); None: training ends by TRL's arguments alone.
        max_resamplings: how often a group whose rewards are all equal is sampled again, before the
            algorithm changes it (`trainer.zero_variance`); 0: never.
        right_from: with graded rewards, the one from which a completion is right, for `select` and
            `keep`, pairs of `dpo` and the metric `wrong_to_right`; None: anything above 0, and for
            the metric 1.
        skip_padding: compute and sample without the padding of TRL's batches, and without what
            cannot change a gradient; False does it as stock TRL, bit for bit.
    """

    _VALID_DICT_FIELDS: ClassVar = [
        *GRPOConfig._VALID_DICT_FIELDS,
        "algorithm",
        "teacher_behaviors",
        "budget",
    ]

    loss_type: str = "bnpo"
    delta: float | None = 3.0
    weight_decay: float = 0.01
    lr_scheduler_type: str = "constant"
    mask_truncated_completions: bool = False
    algorithm: dict[str, Any] | str | None = field(
        default_factory=lambda: {"type": "thinktuning"},
        metadata={"help": "An algorithm's section. Without one: vanilla GRPO."},
    )
    teacher_prompt: str = field(
        default="paper", metadata={"help": "A packaged teacher prompt, or the path of a file."}
    )
    teacher_behaviors: dict[str, int] | str | None = field(
        default=None, metadata={"help": "How many exemplars of each behavior to show."}
    )
    reseed_each_epoch: bool = field(
        default=False, metadata={"help": "Seed each epoch's order of questions separately."}
    )
    max_logp_difference: float | None = field(
        default=0.1, metadata={"help": "Largest mean difference from vLLM's log-probabilities."}
    )
    budget: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Tokens that end training: tokens, scored_tokens."}
    )
    max_resamplings: int = field(
        default=0, metadata={"help": "How often to sample a group with equal rewards again."}
    )
    right_from: float | None = field(
        default=None, metadata={"help": "The reward from which a completion is right."}
    )
    skip_padding: bool = field(
        default=True, metadata={"help": "Compute and sample without padding; false: as stock TRL."}
    )

    def __post_init__(self) -> None:
        # transformers' new name, which it reads; the old one, of which trl has a default, warns
        if getattr(self, "activation_checkpointing", None) is None:
            self.activation_checkpointing = self.gradient_checkpointing
        super().__post_init__()
        self.algorithm = algorithm_config(self).model_dump()
        if self.budget is not None:
            self.budget = TokenLimits.model_validate(self.budget).limits()


def algorithm_config(args: GRPOConfig) -> AlgorithmConfig:
    """Return the section of the selected algorithm; vanilla GRPO for a plain `GRPOConfig`."""
    section = getattr(args, "algorithm", None) or {"type": "grpo"}
    return TypeAdapter(AnyAlgorithmConfig).validate_python(section)


def changed_options(trainer: GRPOTrainer) -> dict[str, Any]:
    """Return the TRL arguments and rollout sources that are not at their defaults.

    Arguments inherited from transformers are left out, except `use_liger_kernel`, which replaces
    the loss. `router_aux_loss_coef` is the one in use, which may be the model's.
    """
    inherited = {option.name for option in fields(TrainingArguments)} - {"use_liger_kernel"}
    values = {
        option.name: (getattr(trainer.args, option.name), option.default)
        for option in fields(GRPOConfig)
        if option.name not in inherited and option.default is not MISSING
    }
    router = trainer.router_aux_loss_coef if trainer.aux_loss_enabled else None
    values["router_aux_loss_coef"] = (router, None)
    values["tools"] = (getattr(trainer, "tools", None) or None, None)
    values["rollout_func"] = (getattr(trainer, "rollout_func", None), None)
    values["environment_factory"] = (getattr(trainer, "environment_factories", None), None)
    return {name: value for name, (value, default) in values.items() if value != default}
