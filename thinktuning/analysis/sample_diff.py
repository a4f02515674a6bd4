"""Compare two evaluations question by question: `thinktuning compare A B`, or `diff_samples(A, B)`.

Takes any two sample files of one task, ours or lm-eval's (`sample_files`). The formulas are those
of a study's comparison, with intervals over questions only.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thinktuning.analysis.cells import interval_text, p_value_text
from thinktuning.analysis.intervals import Difference, Estimate, accuracy, paired_difference
from thinktuning.analysis.sample_files import Marks, Question, SampleFile, read_sample_file
from thinktuning.io.errors import StudyError
from thinktuning.io.terminal import console, paragraph

if TYPE_CHECKING:
    from rich.console import Console

NUM_EXAMPLES = 3  # of each kind


@dataclass(frozen=True)
class SampleDiff:
    """Two evaluations of one task, compared.

    Attributes:
        a: the first one's accuracy.
        b: the second one's.
        difference: b minus a, paired by question.
        flips: how verdicts change from a to b, as shares of all pairs of a question's samples;
            empty if the scores are no verdicts.
        gains: question -> b minus a, in the order of a's file.
        files: a and b.
    """

    a: Estimate
    b: Estimate
    difference: Difference
    flips: dict[str, float]
    gains: dict[str, float]
    files: tuple[SampleFile, SampleFile]


def diff_samples(
    a: str | Path,
    b: str | Path,
    *,
    metric: str | None = None,
    filter_name: str | None = None,
    different_prompts: bool = False,
    confidence: float = 0.95,
) -> SampleDiff:
    """Compare two sample files of one task.

    Args:
        a: a samples.jsonl, or a samples_<task>_<date>.jsonl of lm-eval's `--log_samples`.
        b: another file of the same kind.
        metric: lm-eval's metric; None: exact_match, acc or the only one.
        filter_name: lm-eval's filter; None: the only one.
        different_prompts: whether lm-eval's prompts may differ, as under two chat templates.
        confidence: of the intervals.

    Raises:
        StudyError: a file is missing or broken, or they answer different questions.
    """
    files = (
        read_sample_file(Path(a), metric, filter_name),
        read_sample_file(Path(b), metric, filter_name),
    )
    check_pairs(*files, different_prompts)
    keys = list(files[0].questions)
    a_N_K, b_N_K = (file.correct(keys) for file in files)
    a_N, b_N = a_N_K.mean(axis=1), b_N_K.mean(axis=1)
    return SampleDiff(
        a=accuracy(a_N_K, confidence),
        b=accuracy(b_N_K, confidence),
        difference=paired_difference(b_N_K, a_N_K, confidence),
        flips=flips(a_N, b_N) if all(file.has_verdicts for file in files) else {},
        gains=dict(zip(keys, (b_N - a_N).tolist(), strict=True)),
        files=files,
    )


def compare_samples(
    a: Path,
    b: Path,
    metric: str | None = None,
    filter_name: str | None = None,
    different_prompts: bool = False,
) -> None:
    """Print what `diff_samples` finds, and examples.

    Raises:
        StudyError: as in `diff_samples`.
    """
    found = diff_samples(
        a, b, metric=metric, filter_name=filter_name, different_prompts=different_prompts
    )
    out = console()
    for name, file, estimate in zip("AB", found.files, (found.a, found.b), strict=True):
        share = interval_text(estimate.mean, estimate.ci_low, estimate.ci_high)
        size = f"{estimate.n} questions, {file.metric or f'samples per question: {file.k}'}"
        size += "".join(f", {kind} {100 * x:.1f}%" for kind, x in file.failures.items())
        out.print(paragraph(name, (f"{file.path}\naccuracy, %: {share}; {size}", "")))
    gain = found.difference
    points = interval_text(gain.mean, gain.ci_low, gain.ci_high, sign="+")
    how = ", paired by question" + p_text(gain.p)
    out.print(paragraph("B minus A", (f"{points} points", "bold"), (how, "")))
    changes = ", ".join(f"{name} {100 * share:.1f}%" for name, share in found.flips.items())
    if changes:
        out.print(paragraph("verdicts", (changes, "")))
    if differ := prompts_that_differ(*found.files):
        note = f"differ on {len(differ)} of {len(found.gains)} questions"
        out.print(paragraph("prompts", (note, "")))
    print_examples(out, "B gains", found, 1, (False, True))
    print_examples(out, "B loses", found, -1, (True, False))


def p_text(p: float | None) -> str:
    """Format a p-value as the end of a sentence."""
    text = p_value_text(p)
    return f", p {text}" if text.startswith("<") else f", p = {text}"


def print_examples(
    out: "Console", name: str, found: SampleDiff, sign: int, verdicts: tuple[bool, bool]
) -> None:
    """Print how many questions gain, and the ones that gain most.

    Args:
        out: the terminal.
        name: the heading, e.g. "B gains".
        found: the comparison.
        sign: 1 for gains, -1 for losses.
        verdicts: whether to show a right or a wrong sample of A, and of B.
    """
    gains = {key: sign * gain for key, gain in found.gains.items() if sign * gain > 0}
    out.print()
    out.print(paragraph(name, (f"on {len(gains)} of {len(found.gains)} questions", "bold")))
    for key in sorted(gains, key=lambda key: -gains[key])[:NUM_EXAMPLES]:
        questions = [file.questions[key] for file in found.files]
        gold = questions[0].gold
        out.print()
        out.print(paragraph("question", (key if gold is None else f"{key}, gold {gold}", "")))
        for side, question, right in zip("AB", questions, verdicts, strict=True):
            out.print(paragraph(side, (question.example(right), "green" if right else "red")))


def check_pairs(a: SampleFile, b: SampleFile, different_prompts: bool) -> None:
    """Refuse to pair answers to different questions, or by different measures."""
    if a.metric != b.metric:
        raise StudyError(
            f"{a.path} and {b.path} cannot be paired: {measure(a)} in the first,"
            f" {measure(b)} in the second"
        )
    for first, second in ((a, b), (b, a)):
        if alone := [key for key in first.questions if key not in second.questions]:
            raise StudyError(
                f"{first.path} and {second.path} answer different questions, so they cannot be"
                f" paired: {len(alone)} of {len(first.questions)} are only in the first, e.g."
                f" {alone[0]!r}"
            )
    for key, question in a.questions.items():
        other = b.questions[key]
        if question.gold != other.gold and None not in (question.gold, other.gold):
            golds = " and ".join(sorted(map(repr, (question.gold, other.gold))))
            raise StudyError(
                f"{a.path} and {b.path} cannot be paired: question {key!r} has different gold"
                f" answers, {golds}"
            )
        if differs(question.document, other.document):
            raise StudyError(
                f"{a.path} and {b.path} cannot be paired: document {key} is another one in each"
                " (its content or doc_hash differs); evaluate both on the same version of the task"
            )
    differ = prompts_that_differ(a, b)
    if a.metric and differ and not different_prompts:
        raise StudyError(
            f"{a.path} and {b.path} asked with different prompts on {len(differ)} of"
            f" {len(a.questions)} documents, e.g. {differ[0]} (its text or prompt_hash differs):"
            " another number of shots, instruction or chat template; if that is meant, pass"
            " --different-prompts"
        )


def measure(file: SampleFile) -> str:
    """Name what a file's scores are."""
    return file.metric or "our own verdicts"


def differs(a: Marks, b: Marks) -> bool:
    """Tell whether two things differ by the first mark that both files have, if there is one."""
    known = ((mine, other) for mine, other in zip(a, b, strict=False) if None not in (mine, other))
    mine, other = next(known, (None, None))
    return mine != other


def prompts_that_differ(a: SampleFile, b: SampleFile) -> list[str]:
    """Return the questions whose prompts are known to differ."""

    def differ(question: Question, other: Question) -> bool:
        return differs(question.prompt, other.prompt)

    return [key for key, question in a.questions.items() if differ(question, b.questions[key])]


def flips(a_N: NDArray[np.float64], b_N: NDArray[np.float64]) -> dict[str, float]:
    """Return how verdicts change from A to B, over all pairs of a question's samples."""
    kinds = {
        "wrong to right": (1 - a_N) * b_N,
        "right to wrong": a_N * (1 - b_N),
        "right to right": a_N * b_N,
        "wrong to wrong": (1 - a_N) * (1 - b_N),
    }
    return {name: float(shares.mean()) for name, shares in kinds.items()}
