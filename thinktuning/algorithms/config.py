"""Parts of the study section `algorithm`; each algorithm's own section is in its file."""

import sys
from abc import abstractmethod
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from thinktuning.io.section import Fraction, Number, Positive, Section
from thinktuning.models.chat import Chat
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher

if TYPE_CHECKING:
    from thinktuning.algorithms.protocol import Algorithm

Decay = Literal["constant", "linear", "exp", "cosine"]
Selection = Literal["random", "wrong_first", "all_wrong"]
Keep = Literal["all", "right", "wrong"]
Mask = Literal["trajectory", "teacher"]
# keys of a job that only TRL's surrogate, or the advantages that it weights, read
OF_SURROGATE = (
    *("training.loss_type", "training.epsilon", "training.delta", "training.scale_rewards"),
    *(f"training.vllm.importance_sampling_{key}" for key in ("mode", "clip_max", "clip_min")),
)


class AlgorithmConfig(Section):
    """The base class of every algorithm's section; `type` selects the algorithm."""

    has_kl_term: ClassVar[bool] = True
    """Whether TRL's `beta` has an effect: not on a loss of the algorithm's own."""
    scores_texts: ClassVar[bool] = False
    """Whether the loss scores further texts (`scoring`), which takes a frozen copy of the base."""
    resamples: ClassVar[bool] = False
    """Whether the student answers once more for each rollout that the teacher is asked about."""
    uses_rewards: ClassVar[bool] = True
    """Whether the loss depends on rewards, apart from what `asks_what_is_right`."""

    type: str

    @classmethod
    def description(cls) -> str:
        """Return the algorithm in one line: the first sentence of its file's docstring."""
        text = sys.modules[cls.__module__].__doc__ or ""
        return " ".join(text.split("\n\n")[0].split())

    @property
    def uses_teacher(self) -> bool:
        """Whether a teacher gives feedback; a subclass may set it as a class variable."""
        return False

    def asks_what_is_right(self) -> list[str]:
        """Return the keys, with their values, for which a completion is right or wrong.

        All else uses rewards by their size. With a graded reward they need a threshold
        (`training.right_from`).
        """
        return []

    def unread(self, training: Any) -> Iterator[tuple[str, str]]:
        """Yield the keys of a job that have no effect with this section, and why.

        A key, as `training.epsilon`, stands for all below it. Studies refuse them where only they
        make a method, or a point of a sweep, another one (`study.reads`).

        Args:
            training: the job's section `training`.
        """
        for key in () if self.has_kl_term else OF_SURROGATE:
            yield key, f"algorithm {self.type} has a loss of its own"
        if not self.uses_teacher:
            yield "teacher", self.untaught

    @property
    def untaught(self) -> str:
        """Says that nobody is asked for feedback, where that is so."""
        return f"algorithm {self.type} asks no teacher"

    def plain(self) -> dict[str, Any]:
        """Return the section as what it does: what can be written in several ways, in one."""
        return self.model_dump()

    def guidance_rate(self, t: float, num_batches: int) -> float:
        """Return the share of each group's eligible rollouts that rollout batch t teaches."""
        return 0.0

    def resampling_chat(self, chat: Chat) -> Chat | None:
        """Return how a student that was asked by `chat` is asked again; None if it is not.

        Answer and feedback are left out.

        Raises:
            StudyError: a prompt that the section names is missing or invalid.
        """
        return None

    def privileged_chat(self, chat: Chat) -> tuple[Chat, Collection[str]] | None:
        """Return what the base reads before an answer to `chat` if it sees more, None if not.

        Answer and feedback are left out, and named if the chat has a place for them: `response`,
        `feedback`.
        """
        return None

    @abstractmethod
    def build(self, teacher: Teacher | None, prompt: TeacherPrompt | None) -> "Algorithm[Any]":
        """Return the algorithm.

        Args:
            teacher: gives feedback; required if `uses_teacher`, else None.
            prompt: the teacher's prompt.
        """


class ScheduleConfig(Section):
    """The guidance rate falls from `init` to `min` over `decay_fraction` of the rollout batches."""

    kind: Decay = "linear"
    init: Fraction = 0.1
    min: Fraction = 0.01
    decay_fraction: Annotated[Fraction, Field(gt=0)] = 1 / 3
    cutoff: Fraction | None = 0.06

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.min > self.init:
            raise ValueError(f"min = {self.min} is above init = {self.init}; lower min")
        if self.cutoff is not None and 0 < self.init <= self.cutoff:
            raise ValueError(
                f"cutoff = {self.cutoff:g} is not below init = {self.init:g}, so that the teacher"
                " is off from the first batch on; lower cutoff, or set it to null"
            )
        return self

    def plain(self) -> dict[str, Any]:
        """Return the schedule as what it does.

        A constant one has no other rate and no end, and a cutoff below all rates cuts nothing.
        """
        if self.kind == "constant":
            return {"kind": self.kind, "init": self.init}
        reached = self.cutoff is not None and self.cutoff >= self.min
        return self.model_dump() | {"cutoff": self.cutoff if reached else None}


class AASConfig(Section):
    """Advantage-aware shaping of guided tokens, `pi / (sg(pi) + gamma(A))`: see `shaping`."""

    variant: Literal["paper", "released", "constant", "off"] = "released"
    constant: Number = 0.1
    bound: Positive = 0.001
    advantage_range: Positive = 4.0
    probability_floor: Fraction = 0.01
