"""The sections of a study: their keys, types and defaults, one class each.

Strict types, no unknown keys, no contradictions. `thinktuning.config` puts them together with those
of `thinktuning.sources` (`data`, `tasks`), `thinktuning.models` and `thinktuning.resources`.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from thinktuning.behaviours import Behaviour
from thinktuning.feedback import Mask
from thinktuning.models import Model
from thinktuning.rollouts import Keep
from thinktuning.schedules import Kind, Rule
from thinktuning.section import Fraction, Name, Number, Percent, Positive, Section, Seed

# --- method --------------------------------------------------------------------------------------


class Prompt(Section):
    """How a question becomes the student's chat: `[system], user: question + suffix`."""

    system: str | None = None
    suffix: str = ""


class LoRA(Section):
    """`peft.LoraConfig`, PEFT's names; the published model has the adapter merged in."""

    r: PositiveInt = 16
    lora_alpha: PositiveInt = 32
    lora_dropout: Fraction = 0.0
    target_modules: str | list[str] = "all-linear"


class Warmup(Section):
    """A short supervised warm-up of the base on worked answers to training questions.

    `tutor_share` of them are a tutor's feedback instead of an answer. All methods start from it.
    """

    max_steps: PositiveInt
    learning_rate: Positive
    batch_size: PositiveInt
    max_length: PositiveInt  # tokens; longer documents are left out
    tutor_share: Fraction = 0.0
    bf16: bool = False
    seed: Seed = 0


class VLLM(Section):
    """Rollouts by vLLM: TRL's `use_vllm`, and its `vllm_*` settings without that prefix.

    `colocate`: in the training process, on its GPU. `server`: `vllm serve results/models/base` on
    other GPUs (docs/gpu.md has its options), which one run at a time uses.
    """

    mode: Literal["colocate", "server"] = "colocate"
    server_base_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    gpu_memory_utilization: Annotated[Fraction, Field(gt=0)] = 0.3
    tensor_parallel_size: PositiveInt = 1
    max_model_length: PositiveInt | None = None  # prompt and completion's budgets
    enable_sleep_mode: bool = False
    importance_sampling_correction: bool = True

    @model_validator(mode="after")
    def _server(self) -> Self:
        if (self.mode == "server") != (self.server_base_url is not None):
            raise ValueError(
                "mode: server needs server_base_url, e.g. http://localhost:8000, and mode: colocate"
                " takes none; change one of the two"
            )
        return self


class Training(Section):
    """`trl.GRPOConfig`, TRL's names and meaning; `max_steps` counts optimiser steps.

    One rollout batch is `per_device_train_batch_size * steps_per_generation` completions (times the
    processes), that is that many divided by `num_generations` prompts, and is used for
    `num_iterations` passes.
    """

    max_steps: PositiveInt
    learning_rate: Positive
    lr_scheduler_type: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "polynomial", "inverse_sqrt"
    ] = "constant_with_warmup"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: Number = 0.01
    adam_beta1: Fraction = 0.9
    adam_beta2: Fraction = 0.999
    max_grad_norm: Positive = 1.0
    per_device_train_batch_size: PositiveInt
    steps_per_generation: PositiveInt = 1
    gradient_accumulation_steps: PositiveInt = 1
    num_generations: Annotated[int, Field(ge=2)]
    num_iterations: PositiveInt = 1
    max_prompt_length: PositiveInt
    max_completion_length: PositiveInt
    temperature: Positive = 1.0
    top_p: Fraction = 1.0
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "bnpo"
    epsilon: Positive = 0.2
    delta: Positive | None = 3.0
    beta: Number = 0.0
    scale_rewards: Literal["group", "batch", "none"] = "group"
    bf16: bool = False
    gradient_checkpointing: bool = False
    lora: LoRA | None = None
    vllm: VLLM | None = None
    save_steps: PositiveInt
    rollouts_per_step: Annotated[int, Field(ge=0)] = 16

    @property
    def generation_batch_size(self) -> int:
        """Completions of one rollout batch on one process."""
        return self.per_device_train_batch_size * self.steps_per_generation

    @property
    def optimizer_steps_per_rollout_batch(self) -> int:
        return self.steps_per_generation * self.num_iterations // self.gradient_accumulation_steps

    @property
    def num_rollout_batches(self) -> int:
        return -(-self.max_steps // self.optimizer_steps_per_rollout_batch)

    @model_validator(mode="after")
    def _batches(self) -> Self:
        if self.generation_batch_size % self.num_generations:
            raise ValueError(
                f"per_device_train_batch_size * steps_per_generation = {self.generation_batch_size}"
                f" is not a multiple of num_generations = {self.num_generations}: a group would be"
                " split; change one of the three"
            )
        uses = self.steps_per_generation * self.num_iterations
        if uses % self.gradient_accumulation_steps:
            raise ValueError(
                f"steps_per_generation * num_iterations = {uses} is not a multiple of"
                f" gradient_accumulation_steps = {self.gradient_accumulation_steps}: an optimiser"
                " step would straddle two rollout batches; change one of the three"
            )
        if self.save_steps % self.optimizer_steps_per_rollout_batch:
            raise ValueError(
                f"save_steps = {self.save_steps} is not a multiple of the"
                f" {self.optimizer_steps_per_rollout_batch} optimiser steps of a rollout batch: a"
                " run resumed in the middle of one would not repeat the original"
            )
        return self


class Schedule(Section):
    """gamma_t falls from `init` to `min` over `decay_fraction` of the rollout batches."""

    kind: Kind = "linear"
    init: Fraction = 0.1
    min: Fraction = 0.01
    decay_fraction: Annotated[Fraction, Field(gt=0)] = 1 / 3
    cutoff: Fraction | None = 0.06

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.min > self.init:
            raise ValueError(f"min = {self.min} is above init = {self.init}: the schedule decays")
        return self


class AAS(Section):
    """Advantage-aware shaping of guided tokens, `pi / (sg(pi) + gamma(A))`: see `objective`."""

    variant: Literal["paper", "released", "constant", "off"] = "released"
    constant: Number = 0.1
    bound: Positive = 0.001
    advantage_range: Positive = 4.0
    probability_floor: Fraction = 0.01


class Guidance(Section):
    """The teacher's part in training; `enabled: false` is vanilla GRPO.

    `objective: sft` trains on the guided tokens alone, as supervised text, and on nothing once the
    teacher has left: the control that asks whether it is the RL.
    """

    enabled: bool = True
    mask: Mask = "trajectory"
    select: Rule = "random"
    keep: Keep = "all"  # of the spliced rollouts, by their reward
    objective: Literal["grpo", "sft"] = "grpo"
    schedule: Schedule = Schedule()
    aas: AAS = AAS()


class OpenAIEndpoint(Section):
    """A server of OpenAI's chat completions, e.g. `vllm serve`; its key is OPENAI_API_KEY's value.

    A request is tried `1 + max_retries` times, the waits in between growing. If the server stays
    away, `on_failure: stop` ends the run, which resumes later; `skip` goes on without feedback.
    """

    base_url: Annotated[str, Field(pattern=r"^https?://")]
    model: str
    concurrency: PositiveInt = 32
    timeout: Positive = 120.0  # seconds a request
    max_retries: Annotated[int, Field(ge=0)] = 5
    on_failure: Literal["stop", "skip"] = "stop"


class Teacher(Section):
    """Who gives feedback, how it is asked (`prompt`: a packaged name or a path), and its budget.

    Backends: `self`, the frozen base; `model`, another one with a tokenizer of its own; `openai`, a
    server. `behaviours`: how many of the prompt's exemplars are shown for each; null: one of each.
    """

    backend: Literal["self", "model", "openai"] = "self"
    model: Model | None = None
    openai: OpenAIEndpoint | None = None
    prompt: str = "paper"
    behaviours: dict[Behaviour, Annotated[int, Field(ge=0)]] | None = None
    max_completion_length: PositiveInt = 512
    batch_size: PositiveInt = 64

    @model_validator(mode="after")
    def _backend(self) -> Self:
        check_backend("teacher", self)
        return self


def check_backend(section: str, asked: "Teacher | Judge") -> None:
    """Refuse a backend without its section, and a section of another backend."""
    for name in ("model", "openai"):
        given = getattr(asked, name) is not None
        if asked.backend == name and not given:
            raise ValueError(f"backend: {name} needs the section {section}.{name}")
        if given and asked.backend != name:
            in_method = f"; in a method, {name}: null removes the study's"
            raise ValueError(
                f"the section {section}.{name} is for backend: {name}, and the backend is"
                f" {asked.backend}; remove one{in_method if section == 'teacher' else ''}"
            )


class Method(Section):
    """A named set of overrides. The overrides themselves are checked by resolving the method."""

    train: bool = True
    label: str | None = None
    prompt: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    guidance: dict[str, Any] = Field(default_factory=dict)
    teacher: dict[str, Any] = Field(default_factory=dict)


# --- evaluation and comparison --------------------------------------------------------------------


class Evaluation(Section):
    """How every task is sampled; greedy is `temperature: 0` with `num_samples: 1`.

    `backend` and `model_args` are lm-eval's `--model` and `--model_args`.
    """

    backend: Literal["hf", "vllm"] = "hf"
    model_args: dict[str, Any] = Field(default_factory=dict)
    temperature: Annotated[Number, Field(ge=0)]
    max_gen_toks: PositiveInt
    batch_size: PositiveInt
    seed: Seed = 1234


Band = Annotated[list[Percent], Field(min_length=2, max_length=2)]


class Comparison(Section):
    """Which differences the tables show: each method minus each baseline, paired by question.

    `published`: method -> baseline -> task (or `mean`) -> a paper's difference in points, shown
    beside ours. `expected`: method -> task -> the accuracies, in per cent, that would not surprise;
    others are flagged with their likely causes.
    """

    baselines: list[Name]
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    published: dict[Name, dict[Name, dict[Name, float]]] = Field(default_factory=dict)
    expected: dict[Name, dict[Name, Band]] = Field(default_factory=dict)


class Judge(Section):
    """A language model that names the behaviours of answers, beside the lexical detector.

    It is asked as a teacher is: backends `model` and `openai`, a `prompt` file. `num_samples`: so
    many answers of each evaluation, chosen by a hash; a reply that names no behaviours is missing.
    """

    backend: Literal["model", "openai"]
    model: Model | None = None
    openai: OpenAIEndpoint | None = None
    prompt: str = "judge"
    num_samples: PositiveInt = 200
    max_completion_length: PositiveInt = 256
    batch_size: PositiveInt = 64

    @model_validator(mode="after")
    def _backend(self) -> Self:
        check_backend("judge", self)
        return self
