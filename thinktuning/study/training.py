"""The study section `training`: arguments of `trl.GRPOConfig`, and LoRA."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from thinktuning.data.curriculum import Difficulty
from thinktuning.grading.own_reward import BUILT_IN
from thinktuning.io import functions
from thinktuning.io.section import Fraction, NonNegative, Number, Positive, Section, absent
from thinktuning.io.trackers import TrackedSection
from thinktuning.study.budget import BudgetConfig
from thinktuning.study.extra import CLIPPED, check_together, checked, schemas
from thinktuning.study.held_out import HeldOutConfig
from thinktuning.study.reward import Reward, Weights, check_threshold, check_weights
from thinktuning.study.vllm import VLLMConfig
from thinktuning.trainer.config import passes


def _of_extra(schema: dict[str, Any]) -> None:
    """Write the options' types, and that null is none of them."""
    options = {"type": schema.pop("type"), "properties": schemas(), "additionalProperties": False}
    schema.pop("additionalProperties")
    schema["anyOf"] = [options, {"type": "null"}]


Options = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)]


def _modules(modules: str | list[str]) -> str | list[str]:
    """Refuse names that no module can have, for which PEFT stops the training."""
    if not modules or "" in (modules if isinstance(modules, list) else ()):
        raise ValueError("names no module; list some, e.g. [q_proj, v_proj], or take all-linear")
    if isinstance(modules, str):
        try:
            re.compile(modules)
        except re.error as error:
            raise ValueError(
                f"is no regular expression ({error}); correct it, or list names, e.g. [q_proj]"
            ) from None
    return modules


class LoRAConfig(Section):
    """Arguments of `peft.LoraConfig`, PEFT's names; the saved model has the adapter merged in."""

    r: PositiveInt = 16
    lora_alpha: PositiveInt = 32
    lora_dropout: Annotated[Fraction, Field(lt=1)] = 0.0  # at 1 nothing is trained
    target_modules: Annotated[str | list[str], AfterValidator(_modules)] = "all-linear"


class TrainingConfig(TrackedSection):
    """Arguments of `trl.GRPOConfig`, TRL's names and meaning; `max_steps` counts optimizer steps.

    A rollout batch is `per_device_train_batch_size * steps_per_generation` completions per process,
    `num_generations` for each prompt, and is used for `num_iterations` passes.

    A checkpoint is written after the rollout batch at whose end `save_minutes` have passed without
    one, and after every `save_steps` optimizer steps; null switches a rule off.

    `max_resamplings`: how often a group whose rewards are all equal is sampled again.

    `curriculum`: ask easy questions first, by this measure of the question; null: in random order.

    `reward`: what is verified of a completion that ended by itself: its last box, or, as in the
    paper's released code, the whole text (`thinktuning.grading.whole_text`); or a function of
    one's own (`module:function`), or a list of these, summed with `reward_weights`. `right_from`:
    the reward from which a completion counts as right, for what asks that (`study.reward`).

    `extra`: arguments of `trl.GRPOConfig` without a key of their own (`extra.py`).

    `budget`: tokens that end the training before `max_steps`; a job without one does not mention
    it, so that its results stay those of this job.
    """

    max_steps: PositiveInt
    budget: Annotated[BudgetConfig | None, Field(exclude_if=absent)] = None
    learning_rate: Positive
    lr_scheduler_type: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "polynomial", "inverse_sqrt"
    ] = "constant_with_warmup"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: NonNegative = 0.01
    adam_beta1: Annotated[Fraction, Field(lt=1)] = 0.9
    adam_beta2: Annotated[Fraction, Field(lt=1)] = 0.999
    max_grad_norm: Positive = 1.0
    per_device_train_batch_size: PositiveInt
    steps_per_generation: PositiveInt = 1
    gradient_accumulation_steps: PositiveInt = 1
    num_generations: Annotated[int, Field(ge=2)]
    num_iterations: PositiveInt = 1
    max_prompt_length: PositiveInt
    max_completion_length: PositiveInt
    temperature: Positive = 1.0
    top_p: Annotated[Fraction, Field(gt=0)] = 1.0
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "luspo", "sapo", "vespo"] = (
        "bnpo"
    )
    epsilon: Positive = 0.2
    delta: Positive | None = 3.0
    beta: NonNegative = 0.0
    scale_rewards: Literal["group", "batch", "none"] = "group"
    max_resamplings: Annotated[int, Field(ge=0, exclude_if=lambda value: value == 0)] = 0
    curriculum: Annotated[Difficulty | None, Field(exclude_if=absent)] = None
    reward: Reward = "last_box"
    reward_weights: Weights = None
    right_from: Annotated[Number | None, Field(exclude_if=absent)] = None
    bf16: bool = False
    gradient_checkpointing: bool = False
    lora: LoRAConfig | None = None
    vllm: VLLMConfig | None = None
    save_steps: PositiveInt | None = None
    save_minutes: Positive | None = 30.0
    rollouts_per_step: Annotated[int, Field(ge=0)] = 16
    held_out: Annotated[HeldOutConfig | None, Field(exclude_if=absent)] = None
    extra: Annotated[Options, AfterValidator(checked)] = Field(
        default_factory=dict,
        exclude_if=lambda value: not value,
        json_schema_extra=_of_extra,
    )

    def files(self) -> dict[str, Path]:
        """Return the files of the reward functions."""
        own = [reward for reward in self.rewards if reward not in BUILT_IN]
        return super().files() | {n: p for each in own for n, p in functions.files(each).items()}

    @property
    def rewards(self) -> list[str]:
        """The names of the rewards, also of a single one."""
        return self.reward if isinstance(self.reward, list) else [self.reward]

    @property
    def generation_batch_size(self) -> int:
        """The number of completions of a rollout batch, per process."""
        return self.per_device_train_batch_size * self.steps_per_generation

    @property
    def optimizer_steps_per_rollout_batch(self) -> int:
        """The number of optimizer steps that use one rollout batch."""
        return self.steps_per_generation * self.num_iterations // self.gradient_accumulation_steps

    @property
    def num_rollout_batches(self) -> int:
        """The number of rollout batches in the whole training."""
        return self.max_steps // self.optimizer_steps_per_rollout_batch

    @property
    def num_prompts(self) -> int:
        """The number of questions asked in the whole training, per process."""
        return self.num_rollout_batches * self.generation_batch_size // self.num_generations

    @property
    def scoring_passes(self) -> int:
        """The number of times that each token of a rollout batch is scored."""
        return passes(
            num_iterations=self.num_iterations,
            steps_per_generation=self.steps_per_generation,
            gradient_accumulation_steps=self.gradient_accumulation_steps,
            corrected=self.vllm is not None and self.vllm.importance_sampling_correction,
            beta=self.beta,
        )

    @model_validator(mode="after")
    def _rewards(self) -> Self:
        check_weights(self.rewards, self.reward_weights)
        check_threshold(self.rewards, self.right_from)
        return self

    @model_validator(mode="after")
    def _extra(self) -> Self:
        check_together(self)
        if self.loss_type not in CLIPPED and self.delta is not None:
            raise ValueError(
                f"delta = {self.delta:g} has no effect on loss_type {self.loss_type}: it clips the"
                f" ratio of {', '.join(CLIPPED)}; set it to null"
            )
        bound = "extra.epsilon_high" if "epsilon_high" in self.extra else "epsilon"
        above = 1 + self.extra.get("epsilon_high", self.epsilon)
        if self.delta is not None and self.delta <= above:
            raise ValueError(
                f"delta = {self.delta:g} is not above 1 + {bound} = {above:g}: TRL clips the ratio"
                " of every token at delta, first, also where epsilon would not, and with a delta"
                f" below 1 even a ratio of 1; raise it over {above:g}, or set it to null"
            )
        return self

    @model_validator(mode="after")
    def _schedule(self) -> Self:
        if self.lr_scheduler_type == "constant" and self.warmup_steps:
            raise ValueError(
                f"warmup_steps = {self.warmup_steps} has no effect on lr_scheduler_type = constant;"
                " take constant_with_warmup, or set warmup_steps to 0"
            )
        if self.budget and self.curriculum:
            raise ValueError(
                f"curriculum = {self.curriculum} asks the easiest of all questions until max_steps"
                " first, and a budget may end the training on the way; remove one of the two"
            )
        if self.budget and self.lr_scheduler_type in ("linear", "cosine", "polynomial"):
            raise ValueError(
                f"lr_scheduler_type = {self.lr_scheduler_type} falls until max_steps, and a budget"
                " may end the training anywhere on the way; take constant_with_warmup, or remove"
                " the budget"
            )
        return self

    @model_validator(mode="after")
    def _correction(self) -> Self:
        if self.vllm and self.vllm.importance_sampling_correction and self.top_p < 1:
            raise ValueError(
                f"top_p = {self.top_p} with vllm.importance_sampling_correction: vLLM's"
                " log-probabilities are those of the truncated distribution, the trainer's are not"
                " (TRL #7269), so the correction would be wrong; set top_p to 1, or the correction"
                " to false"
            )
        return self

    @model_validator(mode="after")
    def _batches(self) -> Self:
        if self.generation_batch_size % self.num_generations:
            raise ValueError(
                f"per_device_train_batch_size * steps_per_generation = {self.generation_batch_size}"
                f" is not a multiple of num_generations = {self.num_generations}: a group would be"
                " split; change one of the three"
            )
        if self.steps_per_generation % self.gradient_accumulation_steps:
            raise ValueError(
                f"steps_per_generation = {self.steps_per_generation} is not a multiple of"
                f" gradient_accumulation_steps = {self.gradient_accumulation_steps}: an optimizer"
                " step would straddle two rollout batches, or two passes over one (num_iterations);"
                " change one of the two"
            )
        reasons = {
            "max_steps": "the last one would be used in part, and not recorded",
            "save_steps": "a run resumed in the middle of one would not repeat the original",
        }
        values = {name: getattr(self, name) or 0 for name in reasons}
        if self.held_out:
            reasons["held_out.eval_steps"] = "metrics have a row for each, not for its parts"
            values["held_out.eval_steps"] = self.held_out.eval_steps
            if self.held_out.eval_steps > self.max_steps:
                raise ValueError(
                    f"held_out.eval_steps = {self.held_out.eval_steps} is above max_steps ="
                    f" {self.max_steps}, so the questions would never be asked; lower it"
                )
        steps = self.optimizer_steps_per_rollout_batch
        for name, reason in reasons.items():
            if (value := values[name]) % steps:
                raise ValueError(
                    f"{name} = {value} is not a multiple of the {steps} optimizer steps of a"
                    f" rollout batch: {reason}; take {value - value % steps + steps}"
                )
        return self

    @model_validator(mode="after")
    def _warmed_up(self) -> Self:
        if self.warmup_steps >= self.max_steps:
            raise ValueError(
                f"warmup_steps = {self.warmup_steps} is not below max_steps = {self.max_steps}, so"
                f" that no step has learning_rate = {self.learning_rate:g}; lower it"
            )
        return self
