"""Two sample files, question by question: `thinktuning compare A B`

Works on any two samples.jsonl of evaluations of the same task, and needs of each row `id`,
`correct` and `text`; `gold`, where both have it, must agree. The formulas are those of the study's
comparison (`thinktuning.comparison`), with questions as the only thing that varies.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thinktuning import tables
from thinktuning.comparison import difference_and_p, ends, share_interval
from thinktuning.errors import StudyError
from thinktuning.files import read_jsonl
from thinktuning.terminal import console, paragraph

if TYPE_CHECKING:
    from rich.console import Console

Questions = Mapping[str, Sequence[Mapping[str, Any]]]  # id -> its samples

CONFIDENCE = 0.95
NUM_EXAMPLES = 3  # of each kind


def compare_samples(a: Path, b: Path) -> None:
    """Print the accuracy of two sample files, their paired difference, flips and examples.

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
        asked = f"{side.shape[1]} questions, samples of each: {side.shape[2]}"
        out.print(paragraph(name, (f"{path}\naccuracy {accuracy} %, {asked}", "")))
    if sides[0].shape[2] != sides[1].shape[2]:  # repeating all samples alike changes no mean
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
    return f", p {tables.p_value_text(p)}" if p < 0.001 else f", p = {tables.p_value_text(p)}"


def print_examples(
    out: "Console",
    name: str,
    samples: Sequence[Questions],
    gain_N: np.ndarray,
    verdicts: tuple[bool, bool],
) -> None:
    """Print how many questions gain, and the first of those that gain most.

    Args:
        verdicts: which sample of A and of B to show, a right or a wrong one.
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
    """Read a sample file: the samples of each question, in the file's order."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        if absent := [key for key in ("id", "correct", "text") if key not in row]:
            raise StudyError(
                f"{path}: sample {number} has no {', '.join(absent)}; name a samples.jsonl"
            )
        if not isinstance(row["correct"], bool) or not isinstance(row["text"], str):
            raise StudyError(
                f"{path}: sample {number}: `correct` must be true or false, `text` text"
            )
        found.setdefault(str(row["id"]), []).append(row)
    counts = {len(rows) for rows in found.values()}
    if len(found) < 2 or len(counts) != 1:
        raise StudyError(
            f"{path}: {len(found)} questions with {min(counts, default=0)} to"
            f" {max(counts, default=0)} samples; there must be two questions, and each needs the"
            " same number"
        )
    return found


def check_pairs(samples: Sequence[Questions], paths: Sequence[Path]) -> None:
    """Refuse to pair answers to different questions."""
    for questions, others, path, other in (
        (*samples, *paths),
        (*reversed(samples), *reversed(paths)),
    ):
        if alone := [key for key in questions if key not in others]:
            raise StudyError(
                f"{path} and {other} answer different questions: {len(alone)} of {len(questions)}"
                f" are in the first alone, e.g. {alone[0]!r}; they cannot be paired"
            )
    for key, rows in samples[0].items():
        golds = {str(row["gold"]) for row in (*rows, *samples[1][key]) if "gold" in row}
        if len(golds) > 1:
            raise StudyError(
                f"{paths[0]} and {paths[1]}: question {key!r} has different gold answers,"
                f" {' and '.join(sorted(map(repr, golds)))}; they cannot be paired"
            )


def correct(questions: Questions, keys: Sequence[str]) -> np.ndarray:
    """Return the verdicts as (1, N, K)."""
    return np.array([[[row["correct"] for row in questions[key]] for key in keys]], dtype=float)


def flips(a_N: np.ndarray, b_N: np.ndarray) -> str:
    """Say how verdicts go from A to B, over all pairs of a question's samples."""
    kinds = {
        "wrong to right": (1 - a_N) * b_N,
        "right to wrong": a_N * (1 - b_N),
        "right to right": a_N * b_N,
        "wrong to wrong": (1 - a_N) * (1 - b_N),
    }
    return ", ".join(f"{name} {100 * shares.mean():.1f} %" for name, shares in kinds.items())
