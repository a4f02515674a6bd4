"""The sections `tasks`, `evaluation` and `judge` of a study."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from thinktuning.data.config import COLUMNS, Source, check_kind, has_own_format
from thinktuning.grading.answers import AnswerKind
from thinktuning.grading.own_reward import IN_EVALUATION, check_columns, missing_columns
from thinktuning.io.section import Number, Plain, Section, Seed, absent
from thinktuning.teachers.config import BackendConfig

TASKS = Path(__file__).parent / "tasks"


class _TaskLoader(yaml.SafeLoader):
    """Loads the YAML of an lm-eval task; `!function module.name` is read as plain text."""


_TaskLoader.add_constructor("!function", lambda loader, node: str(node.value))


def _packaged_task(name: str) -> str:
    """Refuse an unknown task now, not after hours of training."""
    if name not in (known := packaged_tasks()):
        raise ValueError(
            f"no such task in thinktuning/evaluation/tasks/; choose from {', '.join(known)}"
        )
    return name


def packaged_tasks() -> list[str]:
    """Return the names of the packaged lm-eval tasks."""
    return sorted(path.stem for path in TASKS.glob("thinktuning_*.yaml"))


def _own_function(name: str) -> str:
    """Refuse what is no function to score answers with."""
    missing_columns(name, None, IN_EVALUATION)
    return name


OwnFunction = Annotated[str, AfterValidator(_own_function)]
LMEvalTask = Annotated[
    str,
    AfterValidator(_packaged_task),
    Field(json_schema_extra=lambda schema: schema.update(enum=list(packaged_tasks()))),
]


@cache
def _task_file(file: str) -> dict[str, Any]:
    """Read the file of a packaged lm-eval task."""
    values: dict[str, Any] = yaml.load((TASKS / file).read_text(encoding="utf-8"), _TaskLoader)
    return values


def task_value(name: str, key: str) -> dict[str, Any]:
    """Return a section of a packaged lm-eval task, from its file or the nearest it includes."""
    task: dict[str, Any] = {"include": f"{name}.yaml"}
    while key not in task:
        task = _task_file(task["include"])
    value: dict[str, Any] = task[key]
    return value


def task_kind(name: str) -> AnswerKind:
    """Return the kind of answer that a packaged lm-eval task grades."""
    kind: AnswerKind = task_value(name, "metadata")["answer_kind"]
    return kind


def task_files(name: str) -> dict[str, Path]:
    """Return the files of a packaged lm-eval task: its own YAML and those that it includes."""
    found: dict[str, Path] = {}
    pending = [f"{name}.yaml"]
    while pending:
        file = pending.pop()
        found[file] = TASKS / file
        include = _task_file(file).get("include", [])
        pending += [include] if isinstance(include, str) else include
    return found


class TaskConfig(Section):
    """An evaluation task: its questions, and the lm-eval task that asks them.

    `temperature` and `max_gen_toks` stand before those of the section `evaluation`. With `reward`,
    a function of one's own (`module:function`) scores the answers in place of the grader; one is
    right from the score `right_from` on.
    """

    data: Source
    lm_eval: LMEvalTask
    answer_kind: AnswerKind = "number"
    num_samples: PositiveInt
    temperature: Annotated[Number, Field(ge=0)] | None = None
    max_gen_toks: PositiveInt | None = None
    reward: Annotated[OwnFunction | None, Field(exclude_if=absent)] = None
    right_from: Annotated[Number | None, Field(exclude_if=absent)] = None

    @model_validator(mode="after")
    def _graded(self) -> Self:
        if (self.reward is None) != (self.right_from is None):
            raise ValueError(
                "reward, a function that scores answers, needs right_from, the score from which an"
                " answer is right, and vice versa; give both or none"
            )
        if self.answer_kind == "text" and not self.reward:
            raise ValueError(
                "answer_kind is text, which only a function of your own can judge; name one as"
                " reward: module:function"
            )
        if self.reward and not has_own_format(self.data):
            check_columns(self.reward, COLUMNS, IN_EVALUATION)
        return self

    @model_validator(mode="after")
    def _kind(self) -> Self:
        check_kind(self.data, self.answer_kind)
        if self.reward:
            return self  # the file's own grading is not used
        if (kind := task_kind(self.lm_eval)) != self.answer_kind:
            raise ValueError(
                f"lm_eval: {self.lm_eval} grades answers of kind {kind}, but answer_kind is"
                f" {self.answer_kind}; change one of them"
            )
        return self


# The `model_args` that say how the engine runs. Others change the prompt or the model.
ENGINE_ARGS = {
    "hf": "attn_implementation device device_map dtype max_cpu_memory max_length max_memory_per_gpu"
    " mixed_precision_dtype offload_folder parallelize softmax_dtype tp_plan",
    "vllm": "async_scheduling attention_backend block_size compilation_config cpu_offload_gb"
    " data_parallel_size disable_custom_all_reduce disable_log_stats distributed_executor_backend"
    " dtype enable_chunked_prefill enable_prefix_caching enforce_eager gpu_memory_utilization"
    " kv_cache_dtype kv_cache_memory_bytes max_batch_size max_length max_model_len"
    " max_num_batched_tokens max_num_seqs num_gpu_blocks_override pipeline_parallel_size"
    " swap_space tensor_parallel_size",
}

# What their dtypes may be; of others the engine has no attribute, or refuses them when it loads.
FLOATS = ("bfloat16", "float", "float16", "float32", "half")
DTYPES: dict[str, dict[str, tuple[str, ...]]] = {
    "hf": {
        "dtype": ("auto", *FLOATS, "double", "float64"),
        "mixed_precision_dtype": FLOATS,
        "softmax_dtype": (*FLOATS, "double", "float64"),
    },
    "vllm": {"dtype": ("auto", *FLOATS)},
}

# Those that are on or off, where an engine takes any text for on, and those that are numbers.
SWITCHES = {
    *("async_scheduling", "disable_custom_all_reduce", "disable_log_stats", "enforce_eager"),
    *("enable_chunked_prefill", "enable_prefix_caching", "parallelize"),
}
NUMBERS = {"cpu_offload_gb", "gpu_memory_utilization", "max_length", "swap_space"}

ANY_ENGINE_ARGS = sorted({*" ".join(ENGINE_ARGS.values()).split()})

# The size of batches that `auto` starts with; on a GPU, `hf` halves it until memory suffices.
CPU_BATCH = 64
GPU_BATCH = 1024
VLLM_BATCH = 256  # vLLM's own default for the answers that it works on at a time


def _batch_size(value: Any) -> Any:
    """Check a size; a union's two messages would not say what is allowed."""
    is_size = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if value != "auto" and not is_size:
        raise ValueError("should be a positive integer, or auto")
    return value


BatchSize = Annotated[PositiveInt | Literal["auto"], BeforeValidator(_batch_size)]


def check_dtypes(backend: str, given: Mapping[str, Any]) -> None:
    """Refuse dtypes that an engine does not know, which it would say after all training.

    Raises:
        ValueError: names the key and those that it knows.
    """
    for key, known in DTYPES[backend].items():
        if key in given and given[key] not in (*known, None):
            raise ValueError(
                f"model_args.{key} = {given[key]!r} is no dtype of {backend}; choose from"
                f" {', '.join(known)}"
            )


def check_types(given: Mapping[str, Any]) -> None:
    """Refuse text for what is on or off, or a number, and the like.

    Raises:
        ValueError: names the key and what it may be.
    """
    for key, value in given.items():
        if key in SWITCHES and not isinstance(value, bool | None):
            raise ValueError(f"model_args.{key} = {value!r:.80} should be true or false")
        is_number = isinstance(value, int | float | None) and not isinstance(value, bool)
        if key in NUMBERS and not is_number:
            raise ValueError(f"model_args.{key} = {value!r:.80} should be a number, as 0.5")


class EvaluationConfig(Section):
    """How a task's answers are sampled; greedy is `temperature: 0` with `num_samples: 1`.

    `backend` and `model_args` are lm-eval's `--model` and `--model_args`; of the latter, those that
    say how the engine runs.
    """

    backend: Literal["hf", "vllm"] = "hf"
    model_args: dict[str, Plain] = Field(default_factory=dict)
    temperature: Annotated[Number, Field(ge=0)]
    max_gen_toks: PositiveInt
    batch_size: BatchSize
    seed: Seed = 1234

    @model_validator(mode="after")
    def _engine(self) -> Self:
        known = ENGINE_ARGS[self.backend].split()
        if wrong := sorted(self.model_args.keys() - known):
            raise ValueError(
                f"model_args {wrong} are refused: evaluation asks the run's own model what training"
                " asked it. What changes the prompt goes to chat_template_kwargs or prompt, which"
                f" training uses too; how {self.backend} runs is set by {', '.join(known)}"
            )
        return self


class StudyEvaluationConfig(Section):
    """How answers are sampled, on every task that does not say so itself.

    A task's `temperature` and `max_gen_toks` are, in this order: its own, those of this section,
    those in the file of its lm-eval task, with which `lm_eval` alone asks it.
    """

    backend: Literal["hf", "vllm"] = "hf"
    model_args: dict[str, Plain] = Field(
        default_factory=dict,
        json_schema_extra=lambda schema: schema.update(
            propertyNames={"enum": list(ANY_ENGINE_ARGS)}
        ),
    )
    temperature: Annotated[Number, Field(ge=0)] | None = None
    max_gen_toks: PositiveInt | None = None
    batch_size: BatchSize
    seed: Seed = 1234

    @model_validator(mode="after")
    def _engine(self) -> Self:
        check_dtypes(self.backend, self.model_args)
        check_types(self.model_args)
        return self

    @property
    def expected_batch_size(self) -> int:
        """The size of batches to plan with; for `auto` what vLLM, or hf on a CPU, starts with."""
        if self.batch_size == "auto":
            return VLLM_BATCH if self.backend == "vllm" else CPU_BATCH
        return self.batch_size

    def of_task(self, task: TaskConfig) -> EvaluationConfig:
        """Return a task's section `evaluation`, with every value."""
        in_file = task_value(task.lm_eval, "generation_kwargs")
        values = self.model_dump()
        for key in ("temperature", "max_gen_toks"):
            own = getattr(task, key)
            values[key] = next(v for v in (own, values[key], in_file[key]) if v is not None)
        return EvaluationConfig.model_validate(values)


class JudgeConfig(BackendConfig):
    """A language model that labels the behaviors in answers, as a check on the lexical detector.

    It uses the teachers' backends. `num_samples` answers of each evaluation are judged, chosen by
    hash; a reply that does not parse counts as missing.
    """

    section: ClassVar[str] = "judge"
    backend: Literal["model", "openai"]
    prompt: str = "judge"
    num_samples: PositiveInt = 200
    max_completion_length: PositiveInt = 256
