"""lm-eval's models, which also keep each completion's length and end: lm-eval returns text alone.

Both sample as the study says: of the model's own generation config they keep the tokens that end a
turn and, as trl does, neither temperature nor top_k, top_p and repetition penalty.
"""

import os
from collections import defaultdict, deque
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from thinktuning.errors import StudyError
from thinktuning.schema import Evaluation

Completions = dict[tuple[str, str], deque[tuple[int, bool]]]


def recording_model(model_dir: Path, evaluation: Evaluation) -> Any:
    """Return lm-eval's model of the study's backend.

    Its `completions` has (number of tokens, ended) of each answer, by prompt and answer; equal
    answers to the same prompt share a queue.

    Raises:
        StudyError: the backend is not installed.
    """
    if evaluation.backend == "vllm":
        return recording_vllm(model_dir, evaluation)
    return recording_hf(model_dir, evaluation)


def recording_hf(model_dir: Path, evaluation: Evaluation) -> Any:
    """Return lm-eval's `hf` model."""
    import torch
    from lm_eval.api.model import CacheHook
    from lm_eval.models.huggingface import HFLM
    from transformers import GenerationConfig

    from thinktuning.teacher import eos_ids, first_end

    class RecordingLM(HFLM):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.ends = eos_ids(self.model, self.tokenizer)
            self.model.generation_config = GenerationConfig(eos_token_id=self.ends)
            self.completions: Completions = defaultdict(deque)
            self.cache_hook = Recorder(None)

        def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
            self.decoded = tokens
            return super().tok_decode(tokens, skip_special_tokens=skip_special_tokens)

    class Recorder(CacheHook):
        def add_partial(self, attr: str, req: Any, res: str) -> None:
            """Take note of an answer, which lm-eval has just decoded and would cache here."""
            prompt, ids = req[0], lm.decoded
            ended = any(token in lm.ends for token in ids)
            lm.completions[prompt, res].append((first_end(ids, lm.ends), ended))

    settings = {"dtype": "float32", "device": "cuda" if torch.cuda.is_available() else "cpu"}
    lm = RecordingLM(
        str(model_dir),
        batch_size=evaluation.batch_size,
        add_bos_token=False,  # the chat template writes what special tokens there are
        **(settings | evaluation.model_args),
    )
    return lm


def recording_vllm(model_dir: Path, evaluation: Evaluation) -> Any:
    """Return lm-eval's `vllm` model."""
    if not find_spec("vllm"):
        raise StudyError(
            "evaluation.backend is vllm, which is not installed; docs/gpu.md says how, or set"
            " evaluation.backend: hf"
        )
    # its sampler for top-k and top-p, which are not used here, is compiled, where there is an nvcc
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    from lm_eval.api.model import CacheHook
    from lm_eval.models.vllm_causallms import VLLM

    class RecordingVLLM(VLLM):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.completions: Completions = defaultdict(deque)
            self.generated: deque[Any] = deque()
            self.cache_hook = Recorder(None)

        def _model_generate(self, *args: Any, **kwargs: Any) -> Any:
            outputs = super()._model_generate(*args, **kwargs)
            self.generated.extend(output.outputs[0] for output in outputs)
            return outputs

    class Recorder(CacheHook):
        def add_partial(self, attr: str, req: Any, res: str) -> None:
            """Take note of an answer: they come here in the order of their generation."""
            output = lm.generated.popleft()
            ended = output.finish_reason == "stop"
            lm.completions[req[0], res].append((len(output.token_ids), ended))

    settings = {"dtype": "float32", "seed": evaluation.seed}
    lm = RecordingVLLM(
        str(model_dir),
        batch_size=evaluation.batch_size,
        add_bos_token=False,
        **(settings | evaluation.model_args),
    )
    return lm
