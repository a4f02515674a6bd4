"""Algorithm: the hooks between GRPO's rollouts and its loss.

An algorithm is one file: a config class (its section of the study) and a class with the hooks that
it needs. The trainer calls them in this order and knows no algorithm by name:

    augment      after sampling, before the reward: change the completions of the batch
    loss_inputs  after the reward: add tensors that TRL shuffles and splits along with the batch
    shape        in the loss, once log pi is known: replace inputs of TRL's surrogate
    loss         in the loss: replace TRL's surrogate by another loss

A `loss` that needs the probabilities of further texts, under the policy or the frozen base, gets
them from `scorer` (see `scoring`), and says with `reads` which completions TRL need not compute.

docs/extending.md shows how to add one, step by step.

Shapes: B completions of a (micro-)batch, T tokens.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from thinktuning.algorithms.batch import RolloutBatch
from thinktuning.algorithms.config import AlgorithmConfig
from thinktuning.algorithms.options import check_options
from thinktuning.algorithms.scoring import Scorer
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher

if TYPE_CHECKING:
    from torch import Tensor

C = TypeVar("C", bound=AlgorithmConfig, covariant=True)


class Algorithm(Generic[C]):
    """The base class of every algorithm: GRPO itself, with nothing changed.

    Args:
        config: the algorithm's section.
        teacher: gives feedback; required if `config.uses_teacher`, else None.
        prompt: the teacher's prompt.

    Raises:
        ValueError: the teacher is missing or superfluous.
    """

    refused: ClassVar[Mapping[str, str]] = {}
    """Further TRL options that this algorithm cannot honor, each with the reason."""

    scorer: Scorer
    """Scores further texts; the trainer sets it if `config.scores_texts`."""

    def __init__(
        self, config: C, teacher: Teacher | None = None, prompt: TeacherPrompt | None = None
    ) -> None:
        if config.uses_teacher != (teacher is not None):
            raise ValueError(
                f"algorithm {config.type!r} {'needs a' if config.uses_teacher else 'takes no'}"
                " teacher: pass teacher=SelfTeacher() to an algorithm that uses one, and none with"
                " algorithm={'type': 'grpo'}"
            )
        self.config = config
        self.teacher = teacher
        self.prompt = prompt

    @property
    def augments(self) -> bool:
        """Whether this algorithm changes completions."""
        return type(self).augment is not Algorithm.augment

    @property
    def changes_loss(self) -> bool:
        """Whether this algorithm has a hook in the loss."""
        return type(self).shape is not Algorithm.shape or self.replaces_loss

    @property
    def replaces_loss(self) -> bool:
        """Whether this algorithm may have a loss of its own, which need not use the advantages."""
        return type(self).loss is not Algorithm.loss

    @property
    def needs_lessons(self) -> bool:
        """Whether its own loss is 0, by design, where no rollout is taught."""
        return self.replaces_loss

    @property
    def separable(self) -> bool:
        """Whether a completion's loss needs no other completion, and is 0 if its advantage is 0.

        The trainer then leaves completions with advantage 0 out, and may train the completions of
        an optimizer step in other micro-batches. Only the algorithm knows what its hooks in the
        loss do, so one that has some must say so.
        """
        return not self.changes_loss

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse TRL options under which the hooks would not compute this algorithm.

        Args:
            options: fields of `trl.GRPOConfig`, and `tools`, `rollout_func` and
                `environment_factory`, that are not at their defaults.

        Raises:
            ValueError: an option cannot be honored; says why.
        """
        if self.augments or self.changes_loss:
            check_options(self.config.type, options, self.refused)
        if self.replaces_loss and (router := options.get("router_aux_loss_coef")):
            raise ValueError(
                f"algorithm {self.config.type!r} cannot honor router_aux_loss_coef={router}, of the"
                " options or of the model's config: its own loss has no router loss; set it to 0"
            )

    def augment(self, batch: RolloutBatch) -> None:
        """Change `batch` after sampling; its completions are then rewarded and trained on."""

    def loss_inputs(
        self, batch: RolloutBatch, output: Mapping[str, "Tensor"]
    ) -> "dict[str, Tensor]":
        """Return tensors of B rows to add to TRL's batch `output`.

        What an algorithm scores besides TRL's own passes, here or in its loss, it states now in
        `batch.metrics` as `extra_scored_tokens`, those of this process: token budgets count them.
        """
        return {}

    def shape(self, logps: "Tensor", inputs: Mapping[str, "Tensor"]) -> "dict[str, Tensor]":
        """Return the entries of `inputs` to replace in TRL's surrogate.

        Args:
            logps: (B, T), log pi of each completion token, with its graph.
            inputs: TRL's micro-batch, with what `loss_inputs` added.
        """
        return {}

    def loss(self, logps: "Tensor", inputs: Mapping[str, "Tensor"]) -> "Tensor | None":
        """Return a loss in place of TRL's surrogate; None keeps the surrogate.

        Args:
            logps: (B, T), log pi of each completion token, with its graph.
            inputs: TRL's micro-batch, with what `loss_inputs` added.

        Returns:
            A scalar, averaged over the micro-batch; the trainer divides it by the accumulation
            steps.
        """
        return None

    def reads(self, inputs: Mapping[str, "Tensor"]) -> "Tensor | None":
        """Return (B,), bool: the completions whose log pi `loss` reads; None: all of them.

        Others need not be computed; their log pi is then not that of the policy. The graph of
        `logps` always reaches the model, so a loss that reads none adds `0 * logps.sum()`:
        distributed training waits for a gradient of every weight.

        Args:
            inputs: TRL's micro-batch, with what `loss_inputs` added.
        """
        return None
