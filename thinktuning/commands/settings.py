"""The arguments of `ThinkTuningConfig` that a study sets, and what TRL makes of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import TrainJob

if TYPE_CHECKING:
    from thinktuning.trainer.trainer import ThinkTuningTrainer

# What accelerate and transformers read from the environment, where the study says nothing else.
OF_LAUNCHER = {
    "ACCELERATE_DYNAMO_BACKEND": "training.extra.torch_compile",
    "ACCELERATE_DYNAMO_MODE": "training.extra.torch_compile_mode",
    "ACCELERATE_MIXED_PRECISION": "training.bf16",
    "ACCELERATE_USE_DEEPSPEED": "resources.train.distributed",
    "ACCELERATE_USE_FSDP": "resources.train.distributed",
    "ACCELERATE_USE_MEGATRON_LM": "resources.train.distributed",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "resources.train.distributed",
}
# What torch and its libraries read whatever the study says: no launcher sets it either.
OF_TORCH = {
    **dict.fromkeys(
        (
            *("DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_DEFAULT_FPMATH_MODE"),
            *("HIPBLASLT_ALLOW_TF32", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
        ),
        "training.extra.tf32",
    ),
    **dict.fromkeys(
        (
            *("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE", "TORCH_COMPILE_OVERRIDE_BACKENDS"),
            *("TORCHINDUCTOR_CPP_ENABLE_UNSAFE_MATH_OPT_FLAG", "TORCHINDUCTOR_USE_FAST_MATH"),
            "TORCHINDUCTOR_EMULATE_PRECISION_CASTS",
        ),
        "training.extra.torch_compile",
    ),
}
NOTHING = ("", "no", "n", "false", "f", "off", "0")  # as if a variable were not set
NOTHING_TO = {  # variable -> the values that stand for nothing there, in place of these
    "DNNL_DEFAULT_FPMATH_MODE": ("", "strict"),
    "ONEDNN_DEFAULT_FPMATH_MODE": ("", "strict"),
    "NVIDIA_TF32_OVERRIDE": ("",),  # 0 forbids what the study may ask for
}
DECIDED = OF_LAUNCHER | OF_TORCH
DECIDED_IN_WARMUP = dict.fromkeys(DECIDED, "section warmup")  # always one process


def check_environment(environment: Mapping[str, str], decided: Mapping[str, str] = DECIDED) -> None:
    """Refuse variables that would decide in place of the study.

    In several processes `accelerate launch` has set its own, from the study.

    Args:
        environment: the variables of this process.
        decided: variable -> the key that decides.

    Raises:
        StudyError: names the variable and the key.
    """
    for name, key in decided.items():
        if "LOCAL_RANK" in environment and name in OF_LAUNCHER:
            continue
        value = environment.get(name, "")
        if value.lower() not in NOTHING_TO.get(name, NOTHING):
            raise StudyError(
                f"{name}={value} in the environment would change the training, which {key} decides;"
                f" unset it: unset {name}"
            )


def trainer_settings(job: TrainJob) -> dict[str, Any]:
    """Return the arguments of `ThinkTuningConfig` that the study sets."""
    not_in_trl = {"max_prompt_length", "rollouts_per_step", "reward", "lora", "vllm", "budget"}
    not_in_trl |= {"save_steps", "save_minutes", "curriculum", "extra", "report_to", "held_out"}
    settings = job.training.model_dump(exclude=not_in_trl)
    if vllm := job.training.vllm:
        chosen = vllm.model_dump(exclude_defaults=True, exclude={"max_logp_difference"})
        settings |= {f"vllm_{name}": value for name, value in chosen.items()}
        settings["max_logp_difference"] = vllm.max_logp_difference
        room = job.training.max_prompt_length + job.training.max_completion_length
        settings["vllm_max_model_length"] = vllm.max_model_length or room
    # the model is loaded with `model_init_kwargs`; TRL's reference model follows it
    settings |= {k: v for k, v in job.training.extra.items() if k != "model_init_kwargs"}
    return settings | {
        "seed": job.seed,
        "use_vllm": vllm is not None,
        "budget": budget.limits() if (budget := job.training.budget) else None,
        # only the template writes control tokens, as in `encode_chats`
        "chat_template_kwargs": job.chat_template_kwargs | {"sanitize_control_tokens": True},
        "algorithm": job.algorithm.model_dump(),
        "teacher_prompt": job.teacher.prompt,
        "teacher_behaviors": job.teacher.behaviors,
        "reseed_each_epoch": True,
        "shuffle_dataset": job.training.curriculum is None,
    }


def keep_loss_in_float32(trainer: "ThinkTuningTrainer") -> None:
    """Under FSDP2 with `bf16`, keep log-probabilities and gradient sums in float32.

    Accelerate's policy for `bf16` casts the model's outputs to bfloat16, including the
    log-probabilities that trl computed in float32. Under DDP and on one GPU they stay float32.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin and trainer.args.bf16:
        plugin.mixed_precision_policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32)


def untracked(job: TrainJob) -> TrainJob:
    """Return a job without its trackers: what its results depend on."""
    return job.model_copy(update={"training": job.training.untracked()})


def check_extra(job: TrainJob) -> None:
    """Refuse options of `training.extra` that the installed TRL does not have.

    Raises:
        StudyError: names the option.
    """
    from importlib.metadata import version

    from trl import GRPOConfig

    for name in job.training.extra:
        if name not in GRPOConfig.__dataclass_fields__:
            raise StudyError(
                f"training.extra.{name}: trl {version('trl')} has no such option; install a newer"
                " one, in the range of thinktuning's pyproject.toml, or remove it"
            )


def try_optimizer(trainer: "ThinkTuningTrainer") -> None:
    """Make the optimizer and its schedule and drop them: what they refuse is found here.

    Later, in training, it would be after the first rollouts.
    """
    import torch
    from transformers import get_scheduler

    args = trainer.args
    made, settings = trainer.get_optimizer_cls_and_kwargs(args, trainer.model)
    own = {} if "params" in settings else {"params": [torch.nn.Parameter(torch.zeros(1))]}
    get_scheduler(
        args.lr_scheduler_type,
        made(**own, **settings),
        num_warmup_steps=args.get_warmup_steps(args.max_steps),
        num_training_steps=args.max_steps,
        scheduler_specific_kwargs=args.lr_scheduler_kwargs,
    )


def check_vocabulary(job: TrainJob, size: int) -> None:
    """Refuse tokens in `generation_kwargs` that the model does not have.

    Raises:
        StudyError: names the key and the token.
    """

    def largest(value: Any) -> int:
        """Return the largest number in nested lists."""
        return max(map(largest, value)) if isinstance(value, list) else value

    given = job.training.extra.get("generation_kwargs", {})
    tokens = {name: given[name] for name in given if name.endswith(("_tokens", "_ids"))}
    tokens.pop("min_new_tokens", None)
    tokens["sequence_bias"] = [sequence for sequence, _ in given.get("sequence_bias", ())]
    for name, value in tokens.items():
        if value and (token := largest(value)) >= size:
            raise StudyError(
                f"training.extra.generation_kwargs.{name}: the model has {size} tokens, and no"
                f" token {token}; correct it"
            )


@contextmanager
def naming_extra(job: TrainJob) -> Iterator[None]:
    """Name `training.extra` in what TRL or transformers say of a value, or of a missing package.

    Raises:
        StudyError: they refuse it, and the job has options of its own.
    """
    try:
        yield
    except (ImportError, ValueError, TypeError, ArithmeticError) as error:
        if isinstance(error, StudyError) or not job.training.extra:
            raise
        raise StudyError(f"training.extra ({', '.join(job.training.extra)}): {error}") from error
