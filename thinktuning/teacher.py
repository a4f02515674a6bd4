"""Teachers: who reads a question and the student's answer, and replies with feedback.

One protocol, `Teacher.generate(chats) -> replies`; None stands for no answer: it did not end within
its budget, or there was none to be had.

- `SelfTeacher`, the paper's: the student as it was before training, only prompted differently.
- `LocalTeacher`: any other model, with a tokenizer of its own (text goes through strings).
- `OpenAITeacher`: any server of OpenAI's chat completions, e.g. `vllm serve`.
"""

import copy
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from accelerate.utils import is_peft_model

from thinktuning import schema
from thinktuning.errors import StudyError
from thinktuning.prompts import Chat

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULTS = schema.Teacher()


class Teacher(Protocol):
    """Anything that answers chats; a subclass needs `generate` alone."""

    num_generated_tokens: int = 0  # of all replies so far, if it counts them

    def generate(self, chats: list[Chat]) -> list[str | None]:
        """Answer each chat; None where there is no complete answer."""

    def close(self) -> None:
        """Free what the teacher holds; it is not asked again."""


class LocalTeacher:
    """A local model that decodes greedily, `batch_size` chats at a time, longest first."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        *,
        max_completion_length: int,
        batch_size: int = DEFAULTS.batch_size,
    ) -> None:
        self.model: PreTrainedModel | None = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.max_completion_length = max_completion_length
        self.batch_size = batch_size
        self.num_generated_tokens = 0

    @classmethod
    def from_pretrained(cls, directory: str | Path, **settings: Any) -> "LocalTeacher":
        """Load model and tokenizer, onto the GPU where there is one; `settings` are the class's."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto").to(device)
        tokenizer = AutoTokenizer.from_pretrained(directory)
        if tokenizer.pad_token is None:  # Llama's has none; what it pads is masked
            tokenizer.pad_token = tokenizer.eos_token
        return cls(model, tokenizer, **settings)

    def generate(self, chats: list[Chat]) -> list[str | None]:
        if self.model is None:
            raise RuntimeError("the teacher was closed")
        rendered = [
            self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            for chat in chats
        ]
        order = sorted(range(len(chats)), key=lambda i: -len(rendered[i]))
        replies: list[str | None] = [None] * len(chats)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            completions = generate_ids(
                self.model,
                self.tokenizer,
                [rendered[i] for i in batch],
                self.max_completion_length,
            )
            for i, ids in zip(batch, completions, strict=True):
                self.num_generated_tokens += len(ids)
                if ids and ids[-1] in eos_ids(self.model, self.tokenizer):
                    replies[i] = self.tokenizer.decode(ids, skip_special_tokens=True)
        return replies

    def close(self) -> None:
        """Drop the model: its memory is free once the caller holds no reference."""
        self.model = None
        gc.collect()


class SelfTeacher(LocalTeacher):
    """The student as it was when its trainer was made; the trainer attaches it.

    A full model is copied. Of a PEFT model only the trainable weights are, and put in place while
    the teacher speaks: that is the base with its adapter disabled, or with the adapter that
    training started from.
    """

    def __init__(
        self,
        *,
        max_completion_length: int = DEFAULTS.max_completion_length,
        batch_size: int = DEFAULTS.batch_size,
    ) -> None:
        self.model: PreTrainedModel | None = None
        self.initial: dict[str, Tensor] = {}
        self.max_completion_length = max_completion_length
        self.batch_size = batch_size
        self.num_generated_tokens = 0

    def attach(
        self, student: Any, tokenizer: "PreTrainedTokenizerBase", device: Any = None
    ) -> None:
        """Take the student's present weights as the teacher's; `student` is a (PEFT) model.

        The copy goes to `device`: a student that will be sharded is not there yet.
        """
        self.tokenizer = tokenizer
        if not is_peft_model(student):
            self.model = frozen_copy(student).to(device)
            return
        self.model = student
        self.initial = {name: w.detach().clone() for name, w in trainable(student).items()}

    def generate(self, chats: list[Chat]) -> list[str | None]:
        if not self.initial:
            return super().generate(chats)
        training = self.model.training
        weights = trainable(self.model)
        trained = {name: weight.detach().clone() for name, weight in weights.items()}
        try:
            put(weights, self.initial)
            self.model.eval()
            return super().generate(chats)
        finally:
            put(weights, trained)
            self.model.train(training)

    def close(self) -> None:
        super().close()
        self.initial = {}


def connect(spec: schema.Teacher | schema.Judge, directory: Path | None, option: str) -> Teacher:
    """Return who a section names: a server, or the model whose directory `option` gives.

    Raises:
        StudyError: the directory is not given.
    """
    if spec.openai:
        from thinktuning.openai_teacher import OpenAITeacher

        return OpenAITeacher(
            **spec.openai.model_dump(), max_completion_length=spec.max_completion_length
        )
    if directory is None:
        raise StudyError(f"{option}: `backend: model` needs it; name the directory of that model")
    return LocalTeacher.from_pretrained(
        directory, max_completion_length=spec.max_completion_length, batch_size=spec.batch_size
    )


def frozen_copy(model: Any) -> Any:
    """Copy a model with its weights, but not what a trainer has put in place of its forward.

    TRL puts a closure over the student there (trl.trainer.utils.add_fused_lm_head), whose copy
    would go on computing with the student's weights.
    """
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    for module in copied.modules():
        vars(module).pop("forward", None)
    return copied


def trainable(model: Any) -> "dict[str, Tensor]":
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def put(weights: "dict[str, Tensor]", values: "dict[str, Tensor]") -> None:
    """Overwrite weights in place."""
    for name, weight in weights.items():
        weight.data.copy_(values[name])


def eos_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends a turn: the generation config's list, and the tokenizer's own."""
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in [*listed, tokenizer.eos_token_id] if token is not None})


def generate_ids(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rendered: Sequence[str],
    max_new_tokens: int,
    **sampling: Any,
) -> list[list[int]]:
    """Complete rendered chats in one batch, greedily unless `sampling` says otherwise.

    Returns:
        For each, its completion's tokens up to and including the first EOS; without one if the
        budget ran out.
    """
    import torch

    inputs = tokenizer(
        list(rendered),
        return_tensors="pt",
        padding=True,
        padding_side="left",
        add_special_tokens=False,
    ).to(model.device)
    ends = eos_ids(model, tokenizer)
    with torch.no_grad():
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=max_new_tokens,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
            synced_gpus=False,  # the model is whole: other processes need not take part
            **({"do_sample": False, "repetition_penalty": 1.0} | sampling),
        )
    completions = output[:, inputs["input_ids"].shape[1] :].tolist()
    return [ids[: first_end(ids, ends)] for ids in completions]


def first_end(ids: Sequence[int], ends: Sequence[int]) -> int:
    """Count the tokens up to and including the first that ends the turn, or all."""
    return next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
