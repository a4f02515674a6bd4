"""lm-eval's `hf` and `vllm` models with our own `generate_until`, which records every answer.

lm-eval returns text only; a study also needs each answer's length and whether it ended. lm-eval's
models load, tokenize and generate; `generate_until` batches the prompts as lm-eval does, longest
first, and keeps each result as an `Answer`.

Prompts and sampling follow the study, as in training: lm-eval's hook for the chat template keeps
the tokens of each chat, in which only the template writes control tokens. From the model's own
generation config only the end-of-turn tokens are used; temperature, top_k, top_p and repetition
penalty are ignored, as in TRL.
"""

import os
import random
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from thinktuning.evaluation.config import CPU_BATCH, GPU_BATCH, EvaluationConfig
from thinktuning.io.errors import StudyError
from thinktuning.models.chat import Chat, encode_chats

T = TypeVar("T")


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


class Recorder:
    """What both models add to lm-eval's.

    Attributes:
        answers: lm-eval's `doc_id` -> the document's `Answer`s, one per sample.
        prompt_ids: a rendered prompt -> its tokens.
    """

    tokenizer: Any

    def __init__(
        self,
        *args: Any,
        evaluation: EvaluationConfig,
        template_kwargs: Mapping[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.template_kwargs = template_kwargs
        self.begin(evaluation)

    def begin(self, evaluation: EvaluationConfig) -> None:
        """Begin a task, with its own sampling."""
        self.evaluation = evaluation
        self.answers: dict[int, list[Answer]] = {}
        self.prompt_ids: dict[str, list[int]] = {}
        self.used_batch_size = 0

    def apply_chat_template(self, chat_history: Chat, add_generation_prompt: bool = True) -> str:
        """Render a chat, and keep its tokens; lm-eval's own would leave out a system turn."""
        rendered: str = self.tokenizer.apply_chat_template(
            chat_history, add_generation_prompt=True, tokenize=False, **self.template_kwargs
        )
        (ids,) = encode_chats([chat_history], self.tokenizer, self.template_kwargs)
        self.prompt_ids[rendered] = ids
        return rendered

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Answer every request, in batches, longest prompt first."""
        size = self.evaluation.batch_size
        if size == "auto":
            said = halving(partial(self.answer_all, requests), self.first_size(len(requests)))
        else:
            said = self.answer_all(requests, size)
        self.answers = by_document(requests, said)
        return [answer.text for answer in said]

    def answer_all(self, requests: Sequence[Any], size: int) -> list[Answer]:
        """Return the answer to each request, in batches of a size."""
        self.used_batch_size = size
        prompts = [request.args[0] for request in requests]
        encoded = [self.prompt_ids[prompt] for prompt in prompts]
        answers: dict[int, Answer] = {}
        batched = batches([len(ids) for ids in encoded], prompts, size)
        for batch in progress(batched, len(prompts)):
            sampling = dict(requests[batch[0]].args[1])
            found = self.complete([encoded[i] for i in batch], sampling)
            answers |= dict(zip(batch, found, strict=True))
        return [answers[i] for i in range(len(requests))]

    @abstractmethod
    def first_size(self, number: int) -> int:
        """Return the first size of batches that `batch_size: auto` tries on `number` requests."""

    @abstractmethod
    def complete(self, prompt_ids: list[list[int]], sampling: dict[str, Any]) -> list[Answer]:
        """Answer one batch of prompts."""


def recording_model(
    model_dir: Path,
    evaluation: EvaluationConfig,
    template_kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Return lm-eval's model for the study's backend, a `Recorder`.

    Args:
        model_dir: the model.
        evaluation: the study's section.
        template_kwargs: the study's `chat_template_kwargs`.

    Raises:
        StudyError: the backend is not installed.
    """
    if evaluation.backend == "vllm":
        return recording_vllm(model_dir, evaluation, template_kwargs or {})
    return recording_hf(model_dir, evaluation, template_kwargs or {})


def batches(lengths: Sequence[int], prompts: Sequence[str], size: int) -> Iterator[list[int]]:
    """Yield indices of requests in batches, longest prompt first: a memory error comes at once."""
    order = sorted(range(len(prompts)), key=lambda i: (-lengths[i], prompts[i]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def halving(attempt: Callable[[int], T], size: int) -> T:
    """Return `attempt(size)`, or that of the first half, quarter, ... for which memory suffices.

    Each attempt draws the same random numbers, so that the result is that of its size alone.
    """
    import torch
    from accelerate.utils import find_executable_batch_size

    devices = range(torch.cuda.device_count())
    sizes = (size >> times for times in count(1))  # accelerate gives up at 0

    def attempt_anew(batch_size: int) -> T:
        with torch.random.fork_rng(devices):
            return attempt(batch_size)

    found: T = find_executable_batch_size(attempt_anew, size, lambda: next(sizes))()
    return found


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


def recording_hf(
    model_dir: Path, evaluation: EvaluationConfig, template_kwargs: Mapping[str, Any]
) -> Any:
    """Return lm-eval's `hf` model."""
    import torch
    from lm_eval.models.huggingface import HFLM

    from thinktuning.models.chat import eos_ids, first_end, only_turn_ends, padded
    from thinktuning.models.generation import decoding

    class RecordingHF(Recorder, HFLM):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.ends = eos_ids(self.model, self.tokenizer)
            self.model.generation_config = only_turn_ends(self.model, self.tokenizer)

        def first_size(self, number: int) -> int:
            return min(number, CPU_BATCH if self.device.type == "cpu" else GPU_BATCH)

        def complete(self, prompt_ids: list[list[int]], sampling: dict[str, Any]) -> list[Answer]:
            context, mask = padded(prompt_ids, self.tokenizer.pad_token_id)
            budget = sampling.pop("max_gen_toks")
            sampling.pop("until")
            with decoding(self.model):
                output = self._model_generate(
                    context=context.to(self.device),
                    attention_mask=mask.to(self.device),
                    stop=[],
                    max_length=context.shape[1] + budget,
                    **sampling,
                )
            answers = []
            for ids in output[:, context.shape[1] :].tolist():
                ids = ids[: first_end(ids, self.ends)]
                ended = bool(ids) and ids[-1] in self.ends
                answers.append(Answer(self.tok_decode(ids), len(ids), ended))
            return answers

    settings = {"dtype": "float32", "device": "cuda" if torch.cuda.is_available() else "cpu"}
    return RecordingHF(
        str(model_dir),
        evaluation=evaluation,
        template_kwargs=template_kwargs,
        batch_size=evaluation.batch_size,
        add_bos_token=False,  # the chat template writes the special tokens
        **(settings | evaluation.model_args),
    )


def recording_vllm(
    model_dir: Path, evaluation: EvaluationConfig, template_kwargs: Mapping[str, Any]
) -> Any:
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

    class RecordingVLLM(Recorder, VLLM):
        def begin(self, evaluation: EvaluationConfig) -> None:
            super().begin(evaluation)
            self.seeds = random.Random(evaluation.seed)

        def first_size(self, number: int) -> int:
            return number  # the engine batches by itself

        def complete(self, prompt_ids: list[list[int]], sampling: dict[str, Any]) -> list[Answer]:
            kwargs, _, budget = self.modify_gen_kwargs(
                sampling, eos=None, default_max_gen_toks=self.evaluation.max_gen_toks
            )
            # Each request has a seed of its own: the engine's generator goes on from task to task.
            params = [
                SamplingParams(max_tokens=budget, seed=self.seeds.getrandbits(32), **kwargs)
                for _ in prompt_ids
            ]
            outputs = self._model_generate(
                requests=prompt_ids, generate=True, sampling_params=params
            )
            made = [output.outputs[0] for output in outputs]
            return [
                Answer(one.text, len(one.token_ids), one.finish_reason == "stop") for one in made
            ]

    settings = {"dtype": "float32", "seed": evaluation.seed}
    return RecordingVLLM(
        str(model_dir),
        evaluation=evaluation,
        template_kwargs=template_kwargs,
        batch_size=evaluation.batch_size,
        add_bos_token=False,
        **(settings | evaluation.model_args),
    )
