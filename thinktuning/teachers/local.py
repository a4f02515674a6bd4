"""Teachers that run in this process: a separate model, or the student before training."""

import copy
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import is_peft_model

from thinktuning.io.errors import StudyError
from thinktuning.models.chat import Chat, encode_chats, eos_ids, generate_ids
from thinktuning.models.prefix import PrefixCache
from thinktuning.teachers.config import BackendConfig, TeacherConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULTS = TeacherConfig()


class LocalTeacher:
    """A local model that decodes greedily, `batch_size` chats at a time, longest first.

    What all chats begin with, the exemplars, is computed once, and kept.

    Args:
        model: a causal language model; it is frozen.
        tokenizer: its tokenizer, with a padding token and a chat template.
        max_completion_length: in tokens; a longer reply is None.
        batch_size: in chats.
        chat_template_kwargs: variables of its chat template.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        *,
        max_completion_length: int,
        batch_size: int = DEFAULTS.batch_size,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.tokenizer: Any = tokenizer
        self.max_completion_length = max_completion_length
        self.batch_size = batch_size
        self.chat_template_kwargs = chat_template_kwargs
        self.num_generated_tokens = 0
        self.prefix: PrefixCache | None = None

    @classmethod
    def from_pretrained(cls, directory: str | Path, **settings: Any) -> "LocalTeacher":
        """Load model and tokenizer, onto a GPU if there is one; `settings` go to the class."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype="auto")
        tokenizer = AutoTokenizer.from_pretrained(directory)
        if tokenizer.pad_token is None:  # e.g. Llama's; padding is masked
            tokenizer.pad_token = tokenizer.eos_token
        return cls(model.to(device), tokenizer, **settings)

    def generate(self, chats: list[Chat]) -> list[str | None]:
        """Answer each chat; None for a reply that exceeds the budget.

        Raises:
            RuntimeError: the teacher was closed.
        """
        if self.model is None:
            raise RuntimeError("the teacher was closed")
        prompt_ids = encode_chats(chats, self.tokenizer, self.chat_template_kwargs)
        self.prefix = self.prefix or PrefixCache(self.model)
        self.prefix.share(prompt_ids)
        order = sorted(range(len(chats)), key=lambda i: -len(prompt_ids[i]))
        replies: list[str | None] = [None] * len(chats)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            completions = generate_ids(
                self.model,
                self.tokenizer,
                [prompt_ids[i] for i in batch],
                self.max_completion_length,
                prefix=self.prefix,
            )
            for i, ids in zip(batch, completions, strict=True):
                self.num_generated_tokens += len(ids)
                if ids and ids[-1] in eos_ids(self.model, self.tokenizer):
                    replies[i] = self.tokenizer.decode(ids, skip_special_tokens=True)
        return replies

    def close(self) -> None:
        """Drop the model; its memory is freed once the caller holds no reference to it."""
        self.model = self.prefix = None
        gc.collect()


class SelfTeacher(LocalTeacher):
    """The student as it was when its trainer was created; the trainer attaches it.

    A full model is copied, in the dtype that its base is stored in (`frozen_copy`). Of a PEFT model
    only the trainable weights are copied, and swapped in while the teacher generates: this is the
    base model with its adapter disabled, or with the adapter that training started from.

    Args:
        max_completion_length: in tokens; a longer reply is None.
        batch_size: in chats.
        chat_template_kwargs: variables of its chat template.
    """

    def __init__(
        self,
        *,
        max_completion_length: int = DEFAULTS.max_completion_length,
        batch_size: int = DEFAULTS.batch_size,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.model: Any = None
        self.initial: dict[str, torch.Tensor] = {}
        self.max_completion_length = max_completion_length
        self.batch_size = batch_size
        self.chat_template_kwargs = chat_template_kwargs
        self.num_generated_tokens = 0
        self.prefix: PrefixCache | None = None

    def attach(
        self, student: Any, tokenizer: "PreTrainedTokenizerBase", device: Any = None
    ) -> None:
        """Use the student's current weights as the teacher's.

        Args:
            student: the model, possibly a PEFT model.
            tokenizer: its tokenizer.
            device: of the copy; a student that will be sharded has not been moved there yet.
        """
        self.close()  # what it keeps of another student
        self.tokenizer = tokenizer
        if not is_peft_model(student):
            self.model = frozen_copy(student, device)
            return
        self.model = student
        self.initial = {name: w.detach().clone() for name, w in trainable(student).items()}

    def generate(self, chats: list[Chat]) -> list[str | None]:
        """Answer each chat with the initial weights; see `LocalTeacher.generate`."""
        with self.with_initial_weights():
            return super().generate(chats)

    @contextmanager
    def with_initial_weights(self) -> Iterator[Any]:
        """Yield the model, which has the initial weights within the context.

        Raises:
            RuntimeError: the teacher was closed.
        """
        if self.model is None:
            raise RuntimeError("the teacher was closed")
        if not self.initial:
            yield self.model
            return
        training = self.model.training
        weights = trainable(self.model)
        trained = {name: weight.detach().clone() for name, weight in weights.items()}
        try:
            put(weights, self.initial)
            self.model.eval()
            yield self.model
        finally:
            put(weights, trained)
            self.model.train(training)

    def close(self) -> None:
        """Drop the model and the initial weights."""
        super().close()
        self.initial = {}


def connect(
    spec: BackendConfig,
    directory: Path | None,
    option: str,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> LocalTeacher:
    """Return the teacher of `backend: self`, or of `backend: model` from its directory.

    Raises:
        StudyError: `backend: model` without a directory.
    """
    settings: dict[str, Any] = {
        "max_completion_length": spec.max_completion_length,
        "batch_size": spec.batch_size,
        "chat_template_kwargs": chat_template_kwargs,
    }
    if spec.backend == "self":
        return SelfTeacher(**settings)
    if directory is None:
        raise StudyError(f"{option}: required by `backend: model`; give the model's directory")
    return LocalTeacher.from_pretrained(directory, **settings)


def frozen_copy(model: Any, device: Any = None) -> Any:
    """Copy a model, in the narrowest dtype that holds its weights exactly.

    A model that is stored in bfloat16 is trained in float32; its copy is in bfloat16 again, with
    half the memory, but for the weights that transformers keeps in float32 when it loads the model.
    The copy has no `forward` that a trainer patched in: TRL patches in a closure over the student
    (trl.trainer.utils.add_fused_lm_head), whose copy would still compute with the student's
    weights.

    Args:
        model: a transformers model.
        device: of the copy; None is the model's.
    """
    dtype, dtypes = narrowest(model)
    copies = {  # by identity: tied weights stay tied
        id(weight): torch.nn.Parameter(
            weight.detach().to(device=device, dtype=dtypes[name], copy=True), False
        )
        for name, weight in model.named_parameters()
    }
    copied = copy.deepcopy(model, copies).to(device).eval()
    copied.config.dtype = dtype
    for module in copied.modules():
        vars(module).pop("forward", None)
    return copied


def narrowest(model: Any) -> tuple[torch.dtype, dict[str, torch.dtype]]:
    """Return the narrowest dtype in which a model can be stored exactly, and that of each weight.

    Both are bfloat16 or float16, but that of weights which transformers keeps in float32 in such a
    model, such as the routers of some mixtures of experts; or those that the model has.
    """
    from transformers.core_model_loading import build_glob_alternation

    weights = dict(model.named_parameters())
    for half in (torch.bfloat16, torch.float16):
        plan = model._get_dtype_plan(half)
        kept, _, _ = build_glob_alternation(list(plan))
        dtypes = {n: torch.float32 if plan and kept.search(n) else half for n in weights}
        if all(torch.equal(w.to(dtypes[name]).to(w.dtype), w) for name, w in weights.items()):
            return half, dtypes
    return model.dtype, {name: weight.dtype for name, weight in weights.items()}


def trainable(model: Any) -> dict[str, torch.Tensor]:
    """Return the weights that require gradients, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def put(weights: dict[str, torch.Tensor], values: dict[str, torch.Tensor]) -> None:
    """Overwrite weights in place, and drop autocast's copies of them, which would stay in use."""
    for name, weight in weights.items():
        weight.data.copy_(values[name])
    torch.clear_autocast_cache()
