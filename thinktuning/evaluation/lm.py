"""lm-eval's `hf` and `vllm` models with our own `generate_until`, which records every answer.

lm-eval returns text only; a study also needs each answer's length and whether it ended. lm-eval's
models load, tokenize and generate; `generate_until` batches the prompts as lm-eval does, longest
first, and keeps each result as an `Answer`.

Sampling follows the study. From the model's own generation config only the end-of-turn tokens are
used; temperature, top_k, top_p and repetition penalty are ignored, as in TRL.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from thinktuning.evaluation.config import EvaluationConfig
from thinktuning.io.errors import StudyError


@dataclass(frozen=True)
class Answer:
    """The model's answer to one request.

    Attributes:
        text: the answer without special tokens.
        num_tokens: its length, end-of-turn token included.
        ended: whether the model ended its turn; otherwise the token budget cut it off.
    """

    text: str
    num_tokens: int
    ended: bool


def recording_model(model_dir: Path, evaluation: EvaluationConfig) -> Any:
    """Return lm-eval's model for the study's backend.

    Its `answers` maps lm-eval's `doc_id` to the document's `Answer`s, one per sample.

    Raises:
        StudyError: the backend is not installed, or an argument in `model_args` is not supported.
    """
    if "think_end_token" in evaluation.model_args:
        raise StudyError(
            "evaluation.model_args.think_end_token: is not supported, since answers are stored"
            " whole, with their thoughts, and graded by their last box; remove it"
        )
    if evaluation.backend == "vllm":
        return recording_vllm(model_dir, evaluation)
    return recording_hf(model_dir, evaluation)


def batches(lengths: Sequence[int], prompts: Sequence[str], size: int) -> Iterator[list[int]]:
    """Yield indices of requests in batches, longest prompt first: a memory error comes at once."""
    order = sorted(range(len(prompts)), key=lambda i: (-lengths[i], prompts[i]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def by_document(requests: Sequence[Any], answers: Sequence[Answer]) -> dict[int, list[Answer]]:
    """Return `doc_id` -> the document's answers, in the order of the requests."""
    found: dict[int, list[Answer]] = {}
    for request, answer in zip(requests, answers, strict=True):
        found.setdefault(request.doc_id, []).append(answer)
    return found


def progress(batched: Iterator[list[int]], total: int) -> Iterator[list[int]]:
    """Yield the batches and count their answers on a progress bar."""
    from tqdm import tqdm

    with tqdm(total=total, desc="evaluate", unit="answer") as bar:
        for batch in batched:
            yield batch
            bar.update(len(batch))


def recording_hf(model_dir: Path, evaluation: EvaluationConfig) -> Any:
    """Return lm-eval's `hf` model."""
    import torch
    from lm_eval.models.huggingface import HFLM

    from thinktuning.models.chat import eos_ids, first_end, only_turn_ends

    class RecordingHF(HFLM):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.ends = eos_ids(self.model, self.tokenizer)
            self.model.generation_config = only_turn_ends(self.model, self.tokenizer)

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            prompts = [request.args[0] for request in requests]
            lengths = [len(self.tok_encode(prompt)) for prompt in prompts]
            answers: dict[int, Answer] = {}
            batched = batches(lengths, prompts, evaluation.batch_size)
            for batch in progress(batched, len(prompts)):
                sampling = dict(requests[batch[0]].args[1])
                context, mask = self.tok_batch_encode([prompts[i] for i in batch])
                budget = sampling.pop("max_gen_toks")
                sampling.pop("until")
                output = self._model_generate(
                    context=context.to(self.device),
                    attention_mask=mask.to(self.device),
                    stop=[],
                    max_length=context.shape[1] + budget,
                    **sampling,
                )
                for i, ids in zip(batch, output[:, context.shape[1] :].tolist(), strict=True):
                    ids = ids[: first_end(ids, self.ends)]
                    ended = bool(ids) and ids[-1] in self.ends
                    answers[i] = Answer(self.tok_decode(ids), len(ids), ended)
            said = [answers[i] for i in range(len(requests))]
            self.answers = by_document(requests, said)
            return [answer.text for answer in said]

    settings = {"dtype": "float32", "device": "cuda" if torch.cuda.is_available() else "cpu"}
    return RecordingHF(
        str(model_dir),
        batch_size=evaluation.batch_size,
        add_bos_token=False,  # the chat template writes the special tokens
        **(settings | evaluation.model_args),
    )


def recording_vllm(model_dir: Path, evaluation: EvaluationConfig) -> Any:
    """Return lm-eval's `vllm` model."""
    if not find_spec("vllm"):
        raise StudyError(
            "evaluation.backend: is vllm, which is not installed; install it (docs/gpu.md), or set"
            " evaluation.backend: hf"
        )
    # FlashInfer's top-k and top-p sampler, unused here, would be compiled, which needs nvcc.
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    from lm_eval.models.vllm_causallms import VLLM
    from vllm import SamplingParams

    class RecordingVLLM(VLLM):
        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            prompts = [request.args[0] for request in requests]
            encoded = self.tok_encode(prompts)
            answers: dict[int, Answer] = {}
            batched = batches([len(ids) for ids in encoded], prompts, evaluation.batch_size)
            for batch in progress(batched, len(prompts)):
                sampling, _, budget = self.modify_gen_kwargs(
                    dict(requests[batch[0]].args[1]),
                    eos=None,
                    default_max_gen_toks=evaluation.max_gen_toks,
                )
                outputs = self._model_generate(
                    requests=[encoded[i] for i in batch],
                    generate=True,
                    sampling_params=[SamplingParams(max_tokens=budget, **sampling)] * len(batch),
                )
                for i, output in zip(batch, outputs, strict=True):
                    made = output.outputs[0]
                    ended = made.finish_reason == "stop"
                    answers[i] = Answer(made.text, len(made.token_ids), ended)
            said = [answers[i] for i in range(len(requests))]
            self.answers = by_document(requests, said)
            return [answer.text for answer in said]

    settings = {"dtype": "float32", "seed": evaluation.seed}
    return RecordingVLLM(
        str(model_dir),
        batch_size=evaluation.batch_size,
        add_bos_token=False,
        **(settings | evaluation.model_args),
    )
