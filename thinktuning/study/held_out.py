"""The study section `training.held_out`: questions that are asked from time to time in training."""

from collections.abc import Mapping, Sequence

from pydantic import PositiveInt

from thinktuning.grading.answers import AnswerKind
from thinktuning.grading.own_reward import BUILT_IN
from thinktuning.io.section import Name, Section


class HeldOutConfig(Section):
    """Ask `size` questions of an evaluation task after every `eval_steps` optimizer steps.

    They are drawn once, and answered greedily. What is learned does not depend on them.
    """

    task: Name
    eval_steps: PositiveInt
    size: PositiveInt = 64


def check_held_out(
    method: str,
    held_out: HeldOutConfig | None,
    tasks: Mapping[str, AnswerKind],
    answer_kind: AnswerKind,
    num_processes: int,
    rewards: Sequence[str] = (),
) -> None:
    """Refuse questions that the training cannot ask or reward.

    Args:
        method: that trains.
        held_out: its section, if it has one.
        tasks: the study's tasks, with the kinds of their answers.
        answer_kind: of the training questions, by which the reward verifies.
        num_processes: of a training.
        rewards: their names; a function of one's own is not asked about these questions.

    Raises:
        ValueError: with the key and the fix.
    """
    if held_out is None:
        return
    where = f"method {method} has training.held_out.task: {held_out.task}, "
    if held_out.task not in tasks:
        raise ValueError(f"{where}which is not among the study's tasks {sorted(tasks)}; name one")
    if tasks[held_out.task] != answer_kind:
        raise ValueError(
            f"{where}whose answers are of the kind {tasks[held_out.task]}, and the reward verifies"
            f" those of the training questions, {answer_kind}; name a task of that kind"
        )
    if num_processes > 1:
        raise ValueError(
            f"{where}and resources.train has {num_processes} processes, between which a model may"
            " be split; remove training.held_out, or train in one process"
        )
    if own := [name for name in rewards if name not in BUILT_IN]:
        raise ValueError(
            f"{where}and training.reward {', '.join(own)}: held-out questions are verified by a"
            " built-in reward only; remove training.held_out"
        )
    if len(rewards) > 1:
        raise ValueError(
            f"{where}and several rewards; held-out questions are verified by one; remove"
            " training.held_out"
        )
