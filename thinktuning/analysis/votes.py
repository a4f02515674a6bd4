r"""Group a question's answers for majority voting: those that the grader holds equal vote together.

`1/2`, `0.5` and `\frac12` are one candidate, not three. All right answers equal the gold answer, so
only wrong ones are compared with each other, where their grouping can change the outcome.
"""

from collections import Counter
from collections.abc import Sequence, Set
from itertools import combinations

from thinktuning.grading.answers import AnswerKind, parse_gold
from thinktuning.grading.grader import Grader, Verdict

RIGHT = 0  # the candidate of all right answers; the wrong ones are texts


def votes(
    answers_N_K: Sequence[Sequence[str | None]],
    correct_N_K: Sequence[Sequence[float]],
    grader: Grader,
    kind: AnswerKind | None,
) -> list[list[str | int | None]]:
    """Return each answer's candidate; None for no answer.

    Args:
        answers_N_K: the extracted answers of each question.
        correct_N_K: 1 for a right answer.
        grader: compares wrong answers.
        kind: of the task's answers; None compares wrong answers by their text.
    """
    cast: list[list[str | int | None]] = [
        [
            RIGHT if right and answer is not None else spelled(answer, kind)
            for answer, right in zip(*row, strict=True)
        ]
        for row in zip(answers_N_K, correct_N_K, strict=True)
    ]
    if kind not in ("number", "latex"):
        return cast
    compared = {i: pairs for i, row in enumerate(cast) if (pairs := undecided(row))}
    every = [pair for pairs in compared.values() for pair in pairs]
    verdicts = grader.grade(
        [x for pair in every for x in pair], [x for a, b in every for x in (b, a)], kind
    )
    same = iter(Verdict.correct in both for both in zip(verdicts[::2], verdicts[1::2], strict=True))
    for i, pairs in compared.items():
        equal = {frozenset(pair) for pair in pairs if next(same)}
        cast[i] = grouped(cast[i], equal)
    return cast


def grouped(row: Sequence[str | int | None], equal: Set[frozenset[str]]) -> list[str | int | None]:
    """Return a question's candidates after answers that are equal have been put together.

    `5 cm` and `5 m` both equal `5`, and not each other: an answer joins the first group of whose
    members it equals all, the most frequent answers first, in whatever order they were given.
    """
    counts = Counter(vote for vote in row if isinstance(vote, str))
    groups: list[list[str]] = []
    for answer in sorted(counts, key=lambda answer: (-counts[answer], answer)):
        fitting = (g for g in groups if all(frozenset((answer, other)) in equal for other in g))
        if group := next(fitting, None):
            group.append(answer)
        else:
            groups.append([answer])
    name = {answer: min(group, key=list(counts).index) for group in groups for answer in group}
    return [name[vote] if isinstance(vote, str) else vote for vote in row]


def spelled(answer: str | None, kind: AnswerKind | None) -> str | None:
    """Return the one spelling of a letter or yes/no; other answers, and what is neither, as is."""
    if answer is None or kind not in ("letter", "yes_no", "text"):
        return answer
    try:
        return parse_gold(answer, kind)
    except ValueError:
        return answer


def undecided(row: Sequence[str | int | None]) -> list[tuple[str, str]]:
    """Return the pairs of wrong answers to compare, none if they cannot change the majority."""
    counts = Counter(vote for vote in row if vote is not None)
    right = counts.pop(RIGHT, 0)
    wrong = [vote for vote in counts if isinstance(vote, str)]
    if not right or right > sum(counts.values()) or right < max(counts.values()):
        return []  # no vote is right, or a majority is certain
    return list(combinations(wrong, 2))
