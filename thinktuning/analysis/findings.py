"""What a study found, in sentences that repeat the numbers of comparison.csv.

Who is ahead of whom, what is not settled, and what is marked. Nothing is computed here: a
difference is settled if its interval excludes 0 and its p, after Holm's correction, is below 1 -
confidence. One that the correction does not confirm, or that has no interval, is not settled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from thinktuning.analysis.cells import (
    SPLIT,
    estimate_text,
    p_value_text,
    seed_values,
    seeds_above_text,
)
from thinktuning.analysis.comparison import MEAN_OF_TASKS
from thinktuning.study.jobs import CompareJob, SweepJob

Row = Mapping[str, Any]  # of comparison.csv; empty cells are None, or absent
AHEAD, BEHIND, OPEN = "ahead", "behind", "open"
CUT_OFF = 0.05  # a share of answers from which on it is said that they count as wrong
UNGRADED = 0.01


@dataclass(frozen=True)
class Sentence:
    """A finding: its claim, and then the rest."""

    claim: str
    rest: str


@dataclass(frozen=True)
class Findings:
    """The sentences about a study.

    Attributes:
        settled: differences on the mean of tasks, or on the only task.
        unsettled: differences that are not, of all tasks, and what limits all intervals.
        marked: what is wrong with runs and answers.
        reflection: how often the answers of each method reflect.
    """

    settled: list[Sentence]
    unsettled: list[Sentence]
    marked: list[Sentence]
    reflection: Sentence


def findings(
    job: CompareJob, rows: Sequence[Row], marks: Mapping[str, Sequence[str]], surprises: str = ""
) -> Findings:
    """Return the sentences about a study.

    Args:
        job: the comparison; its labels are those of the rows.
        rows: comparison.csv.
        marks: method -> what is wrong with its runs.
        surprises: the accuracies outside `comparison.expected`, as comparison.md lists them.
    """
    by_scope: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_scope.setdefault(row["task"], {})[row["method"]] = row
    headline = MEAN_OF_TASKS if MEAN_OF_TASKS in by_scope else next(iter(by_scope))
    settled: list[Sentence] = []
    unsettled: dict[str, list[Sentence]] = {headline: limits(job)}  # by scope, the headline first
    for method, baseline in pairs(job):
        verdicts = {
            scope: verdict(job, of_scope[method], baseline)
            for scope, of_scope in by_scope.items()
            if {method, baseline} <= of_scope.keys()
        }
        if verdicts.get(headline) in (AHEAD, BEHIND):
            settled.append(difference(job, by_scope[headline], method, baseline, verdicts))
        for scope in (scope for scope, found in verdicts.items() if found == OPEN):
            sentence = open_difference(job, by_scope[scope], method, baseline)
            unsettled.setdefault(scope, []).append(sentence)
    of_all = by_scope[headline]
    problems = [*marked(job, of_all, marks, surprises), *split_seeds(rows)]
    return Findings(settled, [*chain(*unsettled.values())], problems, reflection(of_all))


def pairs(job: CompareJob) -> list[tuple[str, str]]:
    """Return each pair of a method and a baseline once: two trained ones first, untrained last."""
    found: dict[frozenset[str], tuple[str, str]] = {}
    for baseline in job.comparison.baselines:
        for method in job.methods:
            if method != baseline:
                found.setdefault(frozenset((method, baseline)), (method, baseline))
    return sorted(found.values(), key=lambda pair: -sum(bool(job.seeds[name]) for name in pair))


def verdict(job: CompareJob, row: Row, baseline: str) -> str | None:
    """Return whether a method is ahead of a baseline, behind it, or neither; None if unknown."""
    key = f"diff_{baseline}"
    value, low, high = (row.get(f"{key}{end}") for end in ("", "_ci_low", "_ci_high"))
    if value is None:
        return None
    p = row.get(f"{key}_p_holm")
    if low is None or high is None or low <= 0 <= high:
        return OPEN
    if p is not None and p >= round(1 - job.comparison.confidence, 9):
        return OPEN
    return AHEAD if value > 0 else BEHIND


def difference(
    job: CompareJob,
    rows: Mapping[str, Row],
    method: str,
    baseline: str,
    verdicts: Mapping[str, str | None],
) -> Sentence:
    """Return the sentence on a settled difference, from the side that is ahead."""
    row, other = rows[method], rows[baseline]
    key, scope = f"diff_{baseline}", str(row["task"])
    same, opposite = AHEAD, BEHIND
    if row[key] < 0:
        row, other = other, row
        same, opposite = BEHIND, AHEAD
    claim = (
        f"{row['label']} ({100 * row['mean']:.1f}%) is ahead of {other['label']}"
        f" ({100 * other['mean']:.1f}%) by {lead(rows[method], key)}"
    )
    tasks = {name: found for name, found in verdicts.items() if name != scope}
    groups = {
        "ahead on": [name for name, found in tasks.items() if found == same],
        "behind on": [name for name, found in tasks.items() if found == opposite],
        "not settled on": [name for name, found in tasks.items() if found == OPEN],
    }
    if tasks and len(groups["ahead on"]) == len(tasks):
        each = "; ahead on each task"
    else:
        each = "".join(f"; {what} {listed(names)}" for what, names in groups.items() if names)
    where = f"mean of {len(tasks)} tasks" if tasks else scope
    return Sentence(claim, f"({where}, {size(job, rows[method], method, baseline)}){each}.")


def lead(row: Row, key: str) -> str:
    """Format a settled difference and its interval, from the side that is ahead."""
    value, low, high = (row[f"{key}{end}"] for end in ("", "_ci_low", "_ci_high"))
    if value < 0:
        value, low, high = -value, -high, -low
    return f"{100 * value:.1f} points [{100 * low:.1f}, {100 * high:.1f}]"


def open_difference(
    job: CompareJob, rows: Mapping[str, Row], method: str, baseline: str
) -> Sentence:
    """Return the sentence on a difference that is not settled, and why it is not."""
    row, key = rows[method], f"diff_{baseline}"
    low, high = (row[f"{key}_ci_{end}"] for end in ("low", "high"))
    claim = f"{row['label']} and {rows[baseline]['label']} on {row['task']}"
    numbers = [f"the difference is {estimate_text(row, key, sign='+')} points"]
    if low is None or high is None:
        numbers.append("its seeds allow no interval")
    elif (p := row.get(f"{key}_p_holm")) is not None:
        numbers.append(f"p {p_value_text(row[f'{key}_p'])}, {p_value_text(p)} after correction")
        if not low <= 0 <= high:
            numbers.append("which does not confirm the interval")
    if (detectable := row.get(f"mde_{baseline}")) is not None:
        numbers.append(f"{100 * detectable:.1f} points or more would be found four times in five")
    return Sentence(claim, f"({size(job, row, method, baseline)}): {'; '.join(numbers)}.")


def reflection(rows: Mapping[str, Row]) -> Sentence:
    """Return the sentence on the share of answers that reflect."""
    shares = [
        f"{row['label']} {estimate_text(row, 'reflection_rate', 'reflection_')}"
        for row in rows.values()
    ]
    return Sentence("Answers that reflect", f"in percent: {'; '.join(shares)}.")


def size(job: CompareJob, row: Row, *methods: str) -> str:
    """Return how many questions and training seeds are behind a number."""
    k = row.get("k")
    samples = f" with {k:.0f} answers each" if k and k > 1 else ""
    seeds = max(len(job.seeds[method]) for method in methods)
    trained = f", {seeds} training seed{'s' * (seeds > 1)}" if seeds else ""
    return f"{row['n']:.0f} questions{samples}{trained}"


def listed(names: Sequence[str]) -> str:
    """Join names as in a sentence."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def limits(job: CompareJob) -> list[Sentence]:
    """Say what limits all comparisons of the study."""
    found = []
    if not any(method != name for name in job.comparison.baselines for method in job.methods):
        found.append(Sentence("No methods are compared", ": the study names no other baseline."))
    seeds = max(map(len, job.seeds.values()), default=0)
    if seeds == 1:
        told = "intervals are over questions only, and another seed may fall outside them."
        found.append(Sentence("One training seed", f": {told}"))
    if seeds == 2:
        told = "differences of trained methods have no interval over seeds."
        found.append(Sentence("Two training seeds", f": {told}"))
    return found


def marked(
    job: CompareJob, rows: Mapping[str, Row], marks: Mapping[str, Sequence[str]], surprises: str
) -> list[Sentence]:
    """Return what is wrong with runs, and with the answers in the headline's scope."""
    found = [
        Sentence(f"{job.methods[method]} is marked", ": the notes on training say what that means.")
        for method, given in marks.items()
        if given
    ]
    for row in rows.values():
        label = row["label"]
        cut_off, failed = (row.get(f"{name}_rate") or 0.0 for name in ("truncation", "error"))
        if cut_off > CUT_OFF:
            told = f"{100 * cut_off:.1f}% of its answers reached the token limit and count as wrong"
            found.append(Sentence(label, f": {told}."))
        if failed > UNGRADED:
            told = f"the grader failed on {100 * failed:.1f}% of its answers, which count as wrong"
            found.append(Sentence(label, f": {told}."))
    for line in surprises.splitlines():
        claim, _, rest = line.removeprefix("- **").partition("**")
        found.append(Sentence(claim, rest.strip()))
    return found


def split_seeds(rows: Sequence[Row]) -> list[Sentence]:
    """Say how many seeds succeed, where those of a method succeed or fail."""
    return [
        Sentence(
            f"Seeds of {row['label']} succeed or fail",
            f" in {what} on {row['task']}, so their mean's interval does not hold: {found}.",
        )
        for row in rows
        for prefix, what in SPLIT.items()
        if (found := seeds_above_text(row, prefix)) and splits(row, prefix)
    ]


def splits(row: Row, prefix: str) -> bool:
    """Return whether the row's own seeds are on both sides of its task's threshold."""
    return 0 < float(row[f"{prefix}seeds_above"]) < len(seed_values(row, prefix))


def sweep_findings(job: SweepJob, rows: Sequence[Row]) -> list[Sentence]:
    """Return a sentence per pair of methods: at which points of a sweep one is ahead.

    Args:
        job: the sweep.
        rows: those of sweep.csv in the headline's scope.
    """
    found = []
    for method, baseline in pairs(job.comparison):
        key = f"diff_{baseline}"
        at: dict[str | None, list[str]] = {AHEAD: [], BEHIND: [], OPEN: []}
        for row in (row for row in rows if row["method"] == method):
            verdict_there = verdict(job.comparison, row, baseline)
            shown = row["point"]
            if verdict_there in (AHEAD, BEHIND):
                shown += f" by {lead(row, key)}"
            at.setdefault(verdict_there, []).append(shown)
        names = [job.labels[method], job.labels[baseline]]
        first, last = AHEAD, BEHIND
        if len(at[BEHIND]) > len(at[AHEAD]):
            names, first, last = names[::-1], BEHIND, AHEAD
        claim = f"{names[0]} is ahead of {names[1]} at {len(at[first])} of {len(job.points)} points"
        if not at[first]:
            claim = f"{names[0]} and {names[1]}"
        groups = [("", at[first]), ("behind at ", at[last]), ("not settled at ", at[OPEN])]
        found.append(Sentence(claim, ": " + "; ".join(a + listed(b) for a, b in groups if b) + "."))
    return found + [
        Sentence(f"At {point}", f": {sentence.claim}{sentence.rest}")
        for point in job.points
        for sentence in split_seeds([row for row in rows if row["point"] == point])
    ]
