r"""LUFFY (Yan et al. 2025, arXiv 2504.14945): GRPO with a teacher's solutions among the rollouts.

1. In each group some rollouts are replaced by a *trace*: the teacher's own solution, instead of a
   continuation of the student's answer. It is rewarded like a rollout, and counts in the group's
   advantages (mixed-policy GRPO).
2. A trace's tokens are off-policy: they lose -A * pi / (pi + gamma), without clipping
   (`off_policy`).

`trace: whole` is the reply's reason and phrase, as the teacher wrote them; `trace: working` leaves
out the reason's first words up to a colon ("Wait, let me check: "), which comment on an answer that
the trace does not have.

In the paper every trace is right: the data set holds only verified solutions. `keep: right`, the
default here, is the same filter at run time: a wrong trace is dropped, and its rollout stays. With
`keep: all` a wrong trace is rewarded 0, and its advantage is negative.

Departures from the paper and its released code, in addition to those of `off_policy`:
1. Traces come from the study's teacher while training runs, about an answer of the student, so that
   all methods spend tokens on the same teacher. There they come from a data set, one per question.
2. The number of traces follows `schedule`, and a rollout is replaced only if it ended by itself.
   There one of eight completions is a trace throughout: `schedule: {kind: constant, init: 0.125,
   min: 0.0, cutoff: null}`.
"""

from typing import Literal

from thinktuning.algorithms.batch import RolloutBatch
from thinktuning.algorithms.config import Keep
from thinktuning.algorithms.feedback import Feedback
from thinktuning.algorithms.off_policy import OffPolicy, OffPolicyConfig
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher


class LUFFYAlgorithmConfig(OffPolicyConfig):
    """`algorithm: {type: luffy}`; `trace`: what of the teacher's reply is the trace."""

    type: Literal["luffy"] = "luffy"
    keep: Keep = "right"
    trace: Literal["whole", "working"] = "whole"

    def build(self, teacher: Teacher | None, prompt: TeacherPrompt | None) -> "LUFFY":
        """Return the algorithm."""
        return LUFFY(self, teacher, prompt)


class LUFFY(OffPolicy[LUFFYAlgorithmConfig]):
    """The teacher's solutions take the places of rollouts."""

    def teach(self, batch: RolloutBatch, rows: list[int]) -> None:
        """Put a trace in the place of each rollout that has feedback."""
        for i in rows:
            lesson = batch.lessons[i]
            assert lesson.feedback
            ids = batch.extend([], self.trace(lesson.feedback))
            if ids is None:
                lesson.kept = False
                batch.metrics["num_unspliced"] += 1
                continue
            end = batch.student_ids[i][-1]
            batch.completion_ids[i] = [*ids, end][: batch.max_completion_length]

    def trace(self, feedback: Feedback) -> str:
        """Return the teacher's solution."""
        whole = self.config.trace == "whole"
        return f"{feedback.reason if whole else feedback.working}\n\n{feedback.phrase}"
