"""What a model costs: its size, the memory of training it, and the time of training and sampling.

The size is read from the model's configuration alone, on torch's meta device, without weights. The
rest are estimates, whose constants stand below:
- training in float32 with AdamW holds 16 bytes a parameter, and in bfloat16 2 more, the copies that
  autocast makes; the activations are what a layer of Llama's kind saves for its backward pass (as
  tests/test_plan.py counts it), without the attention matrix;
- generation reads all weights, and the keys and values of every answer so far, for each token of
  the longest answer of a batch, in bfloat16; those of the prompts are left out;
- a token of the teacher's prompt has four characters.
"""

from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from thinktuning.base import find_packaged
from thinktuning.config import Run
from thinktuning.errors import StudyError
from thinktuning.models import HubModel, Model, Organism, PackageModel, PathModel
from thinktuning.prompts import load
from thinktuning.schema import Teacher

TRAIN_UTILISATION, GENERATE_UTILISATION, BANDWIDTH_UTILISATION = 0.35, 0.5, 0.6
TILE = (4096, 32768)  # TRL's, of logits: tokens x vocabulary


@dataclass(frozen=True)
class GPU:
    """Dense bfloat16 TFLOP/s, GiB, GB/s: NVIDIA's data sheets."""

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
    """A model's numbers."""

    parameters: int
    num_layers: int
    hidden_size: int
    intermediate_size: int
    kv_size: int  # of keys, and of values, a token and layer
    vocabulary: int


def model_size(model: Model) -> Size:
    """Read a model's size from its configuration.

    Raises:
        StudyError: there is none, or it is not of a language model with attention.
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
        )
    except (ValueError, AttributeError, ArithmeticError) as error:
        raise StudyError(
            f"model: a configuration of type {config.model_type} is not that of a causal language"
            f" model with attention ({shorten(str(error), 200)}); take another model"
        ) from None


def model_config(model: Model) -> Any:
    """Return the transformers configuration of any source, without weights."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    if isinstance(model, Organism):
        from thinktuning.organism import VOCABULARY, llama_config

        return llama_config(model, VOCABULARY)
    place, options = "", {}
    match model:
        case PathModel():
            place = model.path
            if not Path(place).exists():
                raise StudyError(f"model.path: {place} does not exist in {Path.cwd()}; correct it")
        case HubModel():
            place, options = model.repo, {"revision": model.revision}
        case PackageModel():
            path = find_packaged(model)
            place, options = str(path.parent), {"gguf_file": path.name}
    try:
        return AutoConfig.from_pretrained(place, **options)
    except (OSError, ValueError, ArithmeticError, StrictDataclassError) as error:
        mend = "correct its config.json"
        if isinstance(model, HubModel):
            mend = (
                "it needs the network once, a gated model HF_TOKEN too (thinktuning plan takes a"
                " copy of the file: --model-config config.json)"
            )
        raise StudyError(
            f"model: its configuration cannot be read ({shorten(str(error), 200)}); {mend}"
        ) from None


# --- memory and time ------------------------------------------------------------------------------


def training_memory(run: Run, size: Size, shards: int, on_gpu: bool) -> tuple[float, float]:
    """Return the bytes of a process's weights, gradients and optimiser, and of what it works with:
    activations and logits, or keys and values, the student's or the teacher's.
    """
    training, n = run.training, size.parameters
    state = 4 * n if training.lora else 16 * n / shards
    if run.guidance.enabled and run.teacher.backend != "openai" and not training.lora:
        state += 4 * n
    state += 2 * n / shards if training.bf16 else 0
    length = training.max_prompt_length + training.max_completion_length
    tokens = training.per_device_train_batch_size * length
    working = activations(size, tokens, training.gradient_checkpointing, training.bf16)
    answers = training.per_device_train_batch_size * training.max_completion_length
    working += logits(size, answers, training.bf16, on_gpu)
    cached = 8 * size.num_layers * size.kv_size  # bytes of a token's keys and values
    if run.guidance.enabled and run.teacher.backend == "self":
        asked = length + teacher_prompt_length(run.teacher) + run.teacher.max_completion_length
        working = max(working, run.teacher.batch_size * asked * cached)
    if training.vllm:  # its cache takes what `gpu_memory_utilization` leaves it
        colocated = training.vllm.mode == "colocate" and not training.vllm.enable_sleep_mode
        return state + (2 * n if colocated else 0), working
    return state, max(working, training.generation_batch_size * length * cached)


def teacher_prompt_length(teacher: Teacher) -> int:
    """Return the tokens of the teacher's prompt before question and response."""
    chat = load(teacher.prompt).select(teacher.behaviours).chat("", "")
    return sum(len(message["content"]) for message in chat) // 4


def activations(size: Size, tokens: int, checkpointing: bool, bf16: bool = False) -> float:
    """Return the bytes that a forward pass keeps for the backward pass.

    A layer keeps, of each token, ten tensors of `hidden_size`, four of `intermediate_size`. Under
    autocast to bfloat16 four of `hidden_size` stay in float32 (the residual stream and the norms),
    beside nine in bfloat16. Checkpointing keeps the residual stream of every layer, and one layer.
    """
    hidden, intermediate = size.hidden_size, size.intermediate_size
    layer = 34 * hidden + 8 * intermediate if bf16 else 40 * hidden + 16 * intermediate
    if checkpointing:
        return float(tokens * (4 * hidden * size.num_layers + layer))
    return float(tokens * layer * size.num_layers)


def logits(size: Size, tokens: int, bf16: bool, on_gpu: bool) -> float:
    """Return the bytes that the log-probabilities of so many tokens take for their backward pass.

    TRL makes the logits in tiles (trl.kernels.chunked_logprob), and a float32 copy of the head's
    gradient. On a CPU seven float32 tensors and a mask of a tile's size stand beside it; on a GPU
    its kernel works in place.
    """
    tile = min(tokens, TILE[0]) * min(size.vocabulary, TILE[1])
    beside = 0 if on_gpu else 7 * 4 + 1
    return tile * ((2 if bf16 else 4) + beside) + 4 * size.vocabulary * size.hidden_size


def train_seconds(flop: float, gpu: GPU) -> float:
    return flop / (gpu.tflops * 1e12 * TRAIN_UTILISATION)


def decode_seconds(size: Size, length: float, concurrency: int, gpu: GPU) -> float:
    """Return the time of `concurrency` answers of `length` tokens: reading, or computing if longer.

    On the average, half of each answer is in the cache.
    """
    cached = concurrency * length / 2 * 4 * size.num_layers * size.kv_size
    reading = (2 * size.parameters + cached) / (gpu.bandwidth * 1e9 * BANDWIDTH_UTILISATION)
    computing = 2 * size.parameters * concurrency / (gpu.tflops * 1e12 * GENERATE_UTILISATION)
    return length * max(reading, computing)
