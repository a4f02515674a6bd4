"""What a model costs: its size, and the memory to train it. `work` has the time.

The size is read from the model's configuration, on torch's meta device, without weights. The rest
is estimated:
- Training in float32 with AdamW takes 16 bytes per parameter; bfloat16 takes 2 more, for the copies
  that autocast makes. Activations are what a Llama layer saves for its backward pass, without the
  attention matrix (tests/planning/test_costs.py measures them).
- A token of the teacher's prompt is four characters.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from thinktuning.io.errors import StudyError
from thinktuning.models.config import (
    HubModelConfig,
    Model,
    OrganismConfig,
    PackageModelConfig,
    PathModelConfig,
)
from thinktuning.models.layouts import Layout, layout_of
from thinktuning.models.sources import find_packaged
from thinktuning.study.jobs import TrainJob
from thinktuning.teachers.config import TeacherConfig
from thinktuning.teachers.prompts import load

MIB, GIB = 2**20, 2**30
TRAIN_UTILIZATION, GENERATE_UTILIZATION, BANDWIDTH_UTILIZATION = 0.35, 0.5, 0.6
TILE = (4096, 32768)  # TRL's tile of logits: tokens x vocabulary


@dataclass(frozen=True)
class GPU:
    """Dense bfloat16 TFLOP/s, memory in GiB and bandwidth in GB/s, from NVIDIA's data sheets."""

    tflops: float
    memory: float
    bandwidth: float


GPUS = {
    "H100": GPU(989, 80, 3350),  # SXM
    "A100": GPU(312, 80, 2039),  # SXM, 80 GB
    "L40S": GPU(362, 48, 864),
    "RTX4090": GPU(165, 24, 1008),
}


@dataclass(frozen=True)
class Size:
    """A model's dimensions."""

    parameters: int
    num_layers: int
    hidden_size: int
    intermediate_size: int
    kv_size: int  # elements of a token's keys in one layer, and of its values
    vocabulary: int
    layout: Layout = "packed"  # in which the update computes it
    stored_bytes: int = 4  # of a weight, as the model is stored


def model_size(model: Model) -> Size:
    """Read a model's size from its configuration.

    Raises:
        StudyError: there is none, or it is not that of a causal language model with attention.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = model_config(model)
    try:
        with torch.device("meta"):
            weights = AutoModelForCausalLM.from_config(config)
        text = config.get_text_config()
        heads = text.num_attention_heads
        head = getattr(text, "head_dim", None) or text.hidden_size // heads
        return Size(
            parameters=weights.num_parameters(),
            num_layers=text.num_hidden_layers,
            hidden_size=text.hidden_size,
            intermediate_size=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
            kv_size=head * (getattr(text, "num_key_value_heads", None) or heads),
            vocabulary=text.vocab_size,
            layout=layout_of(weights),
            stored_bytes=stored_bytes(model, text),
        )
    except (ValueError, AttributeError, ArithmeticError) as error:
        raise StudyError(
            f"model: a configuration of type {config.model_type} is not that of a causal language"
            f" model with attention ({shorten(str(error), 200)}); use another model"
        ) from None


def stored_bytes(model: Model, config: Any) -> int:
    """Return the bytes of a weight in the model's files, 4 if its configuration names no dtype."""
    if isinstance(model, PackageModelConfig):  # dequantized to bfloat16
        return 2
    return getattr(config.dtype, "itemsize", 4)


@cache
def architectures() -> dict[str, dict[str, dict[str, Any]]]:
    """Return repository -> revision -> what its config.json says, for models that are known."""
    found: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(
        (files("thinktuning.planning") / "architectures.yaml").read_text()
    )
    return found


def is_known(model: HubModelConfig) -> bool:
    """Return whether the size of a model can be told without its files."""
    return model.revision in architectures().get(model.repo, {})


def model_config(model: Model) -> Any:
    """Return the transformers configuration of a model from any source, without its weights."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    if isinstance(model, OrganismConfig):
        from thinktuning.models.organism import VOCABULARY, llama_config

        return llama_config(model, VOCABULARY)
    place, options = "", {}
    match model:
        case PathModelConfig():
            place = model.path
            if not Path(place).exists():
                raise StudyError(
                    f"model.path: {place} does not exist in {Path.cwd()}; correct the path"
                )
        case HubModelConfig() if is_known(model):
            return AutoConfig.for_model(**architectures()[model.repo][model.revision])
        case HubModelConfig():
            place, options = model.repo, {"revision": model.revision}
        case PackageModelConfig():
            path = find_packaged(model)
            place, options = str(path.parent), {"gguf_file": path.name}
    try:
        return AutoConfig.from_pretrained(place, **options)
    except (OSError, ValueError, ArithmeticError, StrictDataclassError) as error:
        fix = "correct its config.json"
        if isinstance(model, HubModelConfig):
            fix = (
                "it needs the network once, and HF_TOKEN if the model is gated (or give"
                " thinktuning plan a copy of the file: --model-config config.json)"
            )
        raise StudyError(
            f"model: its configuration cannot be read ({shorten(str(error), 200)}); {fix}"
        ) from None


# --- memory and time ------------------------------------------------------------------------------


def training_memory(job: TrainJob, size: Size, shards: int, on_gpu: bool) -> tuple[float, float]:
    """Return the bytes of a process's state and of its working memory.

    The state is weights, gradients and optimizer over `shards` processes, and a local teacher and
    the frozen base whose probabilities a loss has, in the dtype in which they are stored; the
    `self` teacher is the frozen base. TRL loads its reference model (`beta` > 0) in float32. With
    an adapter base and reference are the model without it. The working memory is activations and
    logits, or the student's or teacher's KV cache if larger.
    """
    training, n = job.training, size.parameters
    state = 4 * n if training.lora else 16 * n / shards
    state += num_frozen(job) * size.stored_bytes * n
    state += 4 * n / shards if training.beta and not training.lora else 0
    state += 2 * n / shards if training.bf16 else 0
    length = training.max_prompt_length + training.max_completion_length
    tokens = training.per_device_train_batch_size * length
    working = activations(size, tokens, training.gradient_checkpointing, training.bf16)
    answers = training.per_device_train_batch_size * training.max_completion_length
    working += logits(size, answers, training.bf16, on_gpu)
    cached = 8 * size.num_layers * size.kv_size  # bytes of a token's keys and values
    if job.algorithm.uses_teacher and job.teacher.backend == "self":
        asked = length + teacher_prompt_length(job.teacher) + job.teacher.max_completion_length
        taught = job.teacher.batch_size * asked * cached * size.stored_bytes / 4
        working = max(working, taught)
    if training.vllm:  # its cache fills what `gpu_memory_utilization` leaves
        colocated = training.vllm.mode == "colocate" and not training.vllm.enable_sleep_mode
        return state + (2 * n if colocated else 0), working
    return state, max(working, training.generation_batch_size * length * cached)


def num_frozen(job: TrainJob) -> int:
    """Count the models beside the policy: a local teacher, and the base if the loss has its part.

    The `self` teacher is the base, and with an adapter the base is no model of its own; TRL's own
    reference model (`beta` > 0) is not counted.
    """
    backend = job.teacher.backend if job.algorithm.uses_teacher else None
    base = not job.training.lora and (job.algorithm.scores_texts or backend == "self")
    return base + (backend == "model")


def teacher_prompt_length(teacher: TeacherConfig) -> int:
    """Return the tokens of the teacher's prompt without question and response."""
    chat = load(teacher.prompt).select(teacher.behaviors).chat("", "")
    return sum(len(message["content"]) for message in chat) // 4


def activations(size: Size, tokens: int, checkpointing: bool, bf16: bool = False) -> float:
    """Return the bytes that a forward pass keeps for the backward pass.

    For each token a layer keeps ten tensors of `hidden_size` and four of `intermediate_size`. With
    bfloat16 autocast, four of `hidden_size` are in float32 (the residual stream and the norms) and
    nine in bfloat16. Checkpointing keeps every layer's residual stream, and all of one layer.
    """
    hidden, intermediate = size.hidden_size, size.intermediate_size
    layer = 34 * hidden + 8 * intermediate if bf16 else 40 * hidden + 16 * intermediate
    if checkpointing:
        return float(tokens * (4 * hidden * size.num_layers + layer))
    return float(tokens * layer * size.num_layers)


def logits(size: Size, tokens: int, bf16: bool, on_gpu: bool) -> float:
    """Return the bytes needed for the log-probabilities of `tokens` tokens and their gradients.

    TRL computes logits in tiles (trl.kernels.chunked_logprob) and keeps a float32 copy of the
    head's gradient. On a CPU it also holds seven float32 tensors and a mask of the tile's size; on
    a GPU its kernel works in place.
    """
    tile = min(tokens, TILE[0]) * min(size.vocabulary, TILE[1])
    temporary = 0 if on_gpu else 7 * 4 + 1
    return tile * ((2 if bf16 else 4) + temporary) + 4 * size.vocabulary * size.hidden_size
