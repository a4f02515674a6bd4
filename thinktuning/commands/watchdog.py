"""Watch a training for what no error shows: nobody is taught, or there is nothing to learn from.

Both leave a run that looks like any other, but is not what its name says. The watchdog sees each
row of metrics.jsonl, also those that a resumed run kept, so that it counts the same as in an
uninterrupted run. It warns when a fault begins and each time it has lasted twice as long, and stops
a run whose teacher gives no usable reply in `algorithm.max_untaught_batches` batches in a row, if
these are more than a few of the replies of the run: late in a training that selects few rollouts,
those few may be texts that no teacher can judge.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thinktuning.algorithms.guided import TaughtConfig
from thinktuning.algorithms.rollout import Rollout
from thinktuning.analysis.training import SILENT
from thinktuning.io.errors import StudyError

if TYPE_CHECKING:
    from thinktuning.algorithms.protocol import Algorithm

MetricsRow = Mapping[str, Any]  # of metrics.jsonl

PATIENCE = 5  # batches: a single one without a signal is common
FEW = 0.1  # unusable replies in a row, per usable one before them
SHOWN = 200  # characters of a malformed reply

UNANSWERED = (
    "teacher.max_completion_length is too small, or the server failed (teacher.openai; its error is"
    " further up)"
)
MALFORMED = (
    "the teacher does not keep to the form that teacher.prompt asks for: a base model may need a"
    " warm-up (docs/study.md), other exemplars, or to be replaced by a stronger teacher"
)


class Watchdog:
    """Counts the batches in a row in which nobody was taught, or which gave no signal.

    Args:
        algorithm: the run's.
    """

    def __init__(self, algorithm: "Algorithm[Any]") -> None:
        config = algorithm.config
        self.limit = config.max_untaught_batches if isinstance(config, TaughtConfig) else None
        self.own_loss = algorithm.replaces_loss
        self.guided = isinstance(config, TaughtConfig)
        self.only_lessons = self.guided and algorithm.needs_lessons
        self.num_asked = 0  # in the batches that `num_unusable` counts
        self.num_usable = 0  # replies of the whole run
        self.num_unusable = 0  # batches in a row whose replies are all unusable
        self.num_untaught = 0  # batches that should teach and did not, until one does
        self.num_silent = 0  # batches in a row without a signal
        self.taught = False
        self.num_batches = self.num_guided = self.num_all_silent = 0  # of the whole run

    def watch(self, row: MetricsRow, rollouts: Sequence[Rollout] = ()) -> list[str]:
        """Count a batch, and return what to warn of.

        Args:
            row: its metrics.
            rollouts: its rollouts, of which a malformed reply is shown.

        Raises:
            StudyError: no reply was usable in `max_untaught_batches` batches in a row, and these
                replies are more than a few.
        """
        self.num_batches += 1
        self.num_guided += row["guidance_rate"] > 0
        found = [self._replies(row, rollouts), self._teaching(row), self._signal(row)]
        return [f"Rollout batch {row['rollout_batch']}: {text}" for text in found if text]

    def summary(self) -> list[str]:
        """Return what to warn of at the end, also of a run too short for other warnings.

        The comparison marks a run by the same rules: see `analysis.training`.
        """
        found = []
        if self.guided and not self.taught:
            found.append(f"Nobody was taught, in {self.num_guided} rollout batches with guidance.")
        if self.num_all_silent >= SILENT * self.num_batches:
            found.append(
                f"{self.num_all_silent} of {self.num_batches} rollout batches gave no signal."
            )
        return [f"{text} The tables will mark this run." for text in found]

    def _replies(self, row: MetricsRow, rollouts: Sequence[Rollout]) -> str | None:
        if not row["num_asked"]:
            return None
        if not unusable(row):
            self.num_unusable = self.num_asked = 0
            self.num_usable += int(row["num_asked"] - row["num_unparsed"])
            return None
        self.num_unusable += 1
        self.num_asked += int(row["num_asked"])
        over = self.limit is not None and self.num_unusable >= self.limit
        if over and self.num_asked > FEW * self.num_usable:
            raise StudyError(
                f"algorithm.max_untaught_batches: in {self.num_unusable} rollout batches in a row"
                f" no reply of the teacher was usable (taught 0 of {self.num_asked} asked), so this"
                " run is not the one that its name says. In the last one,"
                f" {why_unusable(row, rollouts)}"
                " Find the cause and run again: with an unchanged configuration training resumes"
                " from its last checkpoint. To train on anyway, raise the limit, or set it to null"
            )
        if not doubled(self.num_unusable, 1):
            return None
        since = f" ({self.num_unusable} batches in a row)" if self.num_unusable > 1 else ""
        return f"nobody is taught{since}: {why_unusable(row, rollouts)}"

    def _teaching(self, row: MetricsRow) -> str | None:
        """Warn if nobody has been taught so far, for a reason other than unusable replies."""
        self.taught = self.taught or row["num_taught"] > 0
        if self.taught or row["guidance_rate"] == 0 or unusable(row):
            return None
        self.num_untaught += 1
        if not doubled(self.num_untaught, PATIENCE):
            return None
        if row.get("num_unspliced"):
            why = "the teacher's replies parse, but the tokenizer cannot encode them unchanged"
        elif row["num_asked"]:
            why = "the teacher's replies parse, but algorithm.keep keeps none of them"
        elif all_cut_off(row):
            why = "nobody is asked, since no completion ends by itself"
        else:
            why = "nobody is asked, since algorithm.select selects no rollout"
        return f"nobody has been taught so far, in {self.num_untaught} batches: {why}."

    def _signal(self, row: MetricsRow) -> str | None:
        reason = self.without_signal(row)
        self.num_silent = self.num_silent + 1 if reason else 0
        self.num_all_silent += bool(reason)
        if reason and doubled(self.num_silent, PATIENCE):
            return f"this run is not learning, {self.num_silent} batches in a row: {reason}."
        return None

    def without_signal(self, row: MetricsRow) -> str | None:
        """Return why a batch gives nothing to learn from; None if it does.

        A gradient of exactly 0 changes nothing, whatever the loss. A loss of the algorithm's own
        need not use the advantages: only its gradient tells. That of SFT is 0 by design once the
        guidance is off, which is no fault.
        """
        if self.only_lessons and row["guidance_rate"] == 0:
            return None
        flat = row.get("grad_norm") == 0
        equal = not self.own_loss and row.get("num_zero_advantage") == row["num_rollouts"]
        if not (flat or equal):
            return None
        if all_cut_off(row):
            return (
                "every completion is cut off at training.max_completion_length, so none is rewarded"
                " or taught; raise it, or warm the model up (docs/study.md)"
            )
        if equal:
            return (
                "in every group all rewards are equal, so all advantages are 0 (mean reward"
                f" {row['reward'] or 0:.2f}, cut off: {row.get('num_cut_off', 0):.0f} of"
                f" {row['num_rollouts']:.0f}); the questions are too hard or too easy for this"
                " model, or its answers are not in the form that is graded"
            )
        loss = row.get("loss")
        return "loss and gradient are 0" if loss == 0 else f"the gradient is 0 (loss {loss:g})"


def unusable(row: MetricsRow) -> bool:
    """Return whether the teacher was asked, and no reply parsed."""
    return bool(row["num_asked"] and row["num_unparsed"] == row["num_asked"])


def all_cut_off(row: MetricsRow) -> bool:
    """Return whether no completion of the student ended by itself."""
    return bool(row.get("num_cut_off") == row["num_rollouts"])


def doubled(count: int, first: int) -> bool:
    """Return whether `count` is `first`, or that doubled any number of times."""
    times, rest = divmod(count, first)
    return times > 0 and rest == 0 and times & (times - 1) == 0


def why_unusable(row: MetricsRow, rollouts: Sequence[Rollout]) -> str:
    """Say how many replies were unanswered or malformed, show one, and name likely causes."""
    unanswered = int(row["num_unanswered"])
    malformed = int(row["num_asked"]) - unanswered
    text = (
        f"of {int(row['num_asked'])} replies {unanswered} did not arrive or end, and {malformed}"
        f" {'is' if malformed == 1 else 'are'} malformed."
    )
    replies = [r.teacher_reply for r in rollouts if r.asked and not r.parsed and r.teacher_reply]
    if replies:
        cut = " ..." if len(replies[0]) > SHOWN else ""
        text += f" The first malformed reply: {replies[0][:SHOWN]!r}{cut}."
    causes = [UNANSWERED] * (unanswered > 0) + [MALFORMED] * (malformed > 0)
    return f"{text} Likely causes: {'; '.join(causes)}."
