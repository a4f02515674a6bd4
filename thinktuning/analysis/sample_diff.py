"""Compare two sample files question by question: `thinktuning compare A B`.

Works on any two samples.jsonl from evaluations of the same task. Rows need `id`, `correct` and
`text`; where both files have `gold`, it must agree. The formulas are those of a study's comparison
(`thinktuning.analysis.comparison`), with intervals over questions only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thinktuning.analysis import tables
from thinktuning.analysis.comparison import difference_and_p, ends, share_interval
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl
from thinktuning.io.terminal import console, paragraph

if TYPE_CHECKING:
    from rich.console import Console

Questions = Mapping[str, Sequence[Mapping[str, Any]]]  # id -> its samples

CONFIDENCE = 0.95
NUM_EXAMPLES = 3  # of each kind


def compare_samples(a: Path, b: Path) -> None:
    """Print the accuracy of two sample files, their paired difference, answer changes and examples.

    Raises:
        StudyError: a file is missing or broken, or they answer different questions.
    """
    paths = [a, b]
    samples = [read_questions(path) for path in paths]
    check_pairs(samples, paths)
    sides = [correct(questions, list(samples[0])) for questions in samples]
    out = console()
    for name, path, side in zip("AB", paths, sides, strict=True):
        estimate = share_interval([side], CONFIDENCE)
        accuracy = tables.interval_text(estimate.mean, estimate.ci_low, estimate.ci_high)
        size = f"{side.shape[1]} questions, samples per question: {side.shape[2]}"
        out.print(paragraph(name, (f"{path}\naccuracy, %: {accuracy}; {size}", "")))
    if sides[0].shape[2] != sides[1].shape[2]:  # equal numbers of samples; means stay the same
        sides = [
            np.repeat(side, other.shape[2], axis=2)
            for side, other in zip(sides, reversed(sides), strict=True)
        ]
    gain, p = difference_and_p([[sides[1]], [sides[0]]], CONFIDENCE)
    points = tables.interval_text(gain.mean, *ends(gain), sign="+")
    out.print(
        paragraph("B minus A", (f"{points} points, paired by question", "bold"), (p_text(p), ""))
    )
    a_N, b_N = (side[0].mean(axis=1) for side in sides)
    out.print(paragraph("verdicts", (flips(a_N, b_N), "")))
    print_examples(out, "B gains", samples, b_N - a_N, (False, True))
    print_examples(out, "B loses", samples, a_N - b_N, (True, False))


def p_text(p: float) -> str:
    """Format a p-value as the end of a sentence."""
    return f", p {tables.p_value_text(p)}" if p < 0.001 else f", p = {tables.p_value_text(p)}"


def print_examples(
    out: "Console",
    name: str,
    samples: Sequence[Questions],
    gain_N: np.ndarray,
    verdicts: tuple[bool, bool],
) -> None:
    """Print how many questions gain, and the ones that gain most.

    Args:
        out: the terminal.
        name: the heading, e.g. "B gains".
        samples: the samples of A and of B.
        gain_N: each question's gain, a difference of shares.
        verdicts: whether to show a right or a wrong sample of A, and of B.
    """
    keys = list(samples[0])
    out.print()
    out.print(paragraph(name, (f"on {(gain_N > 0).sum()} of {len(keys)} questions", "bold")))
    for place in np.argsort(-gain_N, kind="stable")[:NUM_EXAMPLES]:
        if gain_N[place] <= 0:
            break
        key = keys[place]
        sample = samples[0][key][0]
        out.print()
        answer = f"{key}, gold {sample['gold']}" if "gold" in sample else key
        out.print(paragraph("question", (answer, "")))
        for side, questions, right in zip("AB", samples, verdicts, strict=True):
            text = next(row["text"] for row in questions[key] if row["correct"] == right)
            out.print(paragraph(side, (text, "green" if right else "red")))


def read_questions(path: Path) -> Questions:
    """Read the samples of each question, in the order of the file."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        if absent := [key for key in ("id", "correct", "text") if key not in row]:
            raise StudyError(
                f"{path}: sample {number} has no {', '.join(absent)}; pass a samples.jsonl"
            )
        if not isinstance(row["correct"], bool) or not isinstance(row["text"], str):
            raise StudyError(
                f"{path}: sample {number}: `correct` must be true or false, and `text` a string"
            )
        found.setdefault(str(row["id"]), []).append(row)
    counts = {len(rows) for rows in found.values()}
    if len(found) < 2 or len(counts) != 1:
        raise StudyError(
            f"{path}: has {len(found)} questions with {min(counts, default=0)} to"
            f" {max(counts, default=0)} samples; needs at least two questions, and the same number"
            " of samples for each"
        )
    return found


def check_pairs(samples: Sequence[Questions], paths: Sequence[Path]) -> None:
    """Refuse to pair answers to different questions."""
    for i, j in ((0, 1), (1, 0)):
        questions, others, path, other = samples[i], samples[j], paths[i], paths[j]
        if alone := [key for key in questions if key not in others]:
            raise StudyError(
                f"{path} and {other} answer different questions, so they cannot be paired:"
                f" {len(alone)} of {len(questions)} are only in the first, e.g. {alone[0]!r}"
            )
    for key, rows in samples[0].items():
        golds = {str(row["gold"]) for row in (*rows, *samples[1][key]) if "gold" in row}
        if len(golds) > 1:
            raise StudyError(
                f"{paths[0]} and {paths[1]} cannot be paired: question {key!r} has different gold"
                f" answers, {' and '.join(sorted(map(repr, golds)))}"
            )


def correct(questions: Questions, keys: Sequence[str]) -> np.ndarray:
    """Return the verdicts, 0 or 1, of shape (1, N, K)."""
    return np.array([[[row["correct"] for row in questions[key]] for key in keys]], dtype=float)


def flips(a_N: np.ndarray, b_N: np.ndarray) -> str:
    """Describe how verdicts change from A to B, over all pairs of a question's samples."""
    kinds = {
        "wrong to right": (1 - a_N) * b_N,
        "right to wrong": a_N * (1 - b_N),
        "right to right": a_N * b_N,
        "wrong to wrong": (1 - a_N) * (1 - b_N),
    }
    return ", ".join(f"{name} {100 * shares.mean():.1f}%" for name, shares in kinds.items())
