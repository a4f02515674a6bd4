"""Remove training questions that overlap with evaluation questions, and duplicate questions.

Questions are compared as tokens, lower-case words and single symbols: `4 - 1 - 7 =` has six. As for
GPT-3 (Brown et al. 2020, appendix C), an n-gram shared by more than `max_ngram_count` of all
questions is the task's wording, not a leak. Departure: an n-gram that overlaps the wording does not
count either. Every 8-gram of "... arithmetic problem: 4 - 1 - 7 =" is more wording than sum;
counting those would drop every question that begins like an evaluation question, most of the
default study. What counts is therefore eight tokens outside the wording: four terms and their
operators.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from thinktuning.data.sources import MAX_SHOWN, QuestionRow
from thinktuning.grading.answers import AnswerKind
from thinktuning.grading.grader import Grader, Verdict
from thinktuning.io.errors import StudyError

MAX_EXAMPLES = 20  # examples per reason in decontamination.json


class Overlap(NamedTuple):
    """A row that equals the row `like` or, with `shared`, shares that n-gram with it."""

    id: str
    like: str
    shared: str | None = None


def tokenize(text: str) -> list[str]:
    """Split into lower-case words and single symbols: `4 - 1 =` is `4`, `-`, `1`, `=`."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def normalize(text: str) -> str:
    """Return the form in which questions are compared."""
    return " ".join(tokenize(text))


def ngrams(text: str, n: int) -> list[str]:
    """Return the n-grams of a text in order; a shorter text has none."""
    tokens = tokenize(text)
    return [" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def own_ngrams(text: str, n: int, wording: set[str]) -> list[str]:
    """Return the n-grams that share no token position with an n-gram in `wording`."""
    grams = ngrams(text, n)
    covered = {i + k for i, gram in enumerate(grams) if gram in wording for k in range(n)}
    return [gram for i, gram in enumerate(grams) if covered.isdisjoint(range(i, i + n))]


def drop_duplicates(
    rows: list[QuestionRow], kind: AnswerKind, key: str
) -> tuple[list[QuestionRow], list[Overlap]]:
    """Return the first row of each question, and the rows that repeat it.

    Args:
        rows: the questions of one source.
        kind: the kind of its answers.
        key: its place in the study, for messages.

    Raises:
        StudyError: a question has two gold answers; one of them must be wrong.
    """
    first: dict[str, QuestionRow] = {}
    repeats = []
    for row in rows:
        kept = first.setdefault(normalize(row["question"]), row)
        if kept is not row:
            repeats.append(Overlap(row["id"], kept["id"]))
            if not agree(row["answer"], kept["answer"], kind):
                raise StudyError(
                    f"{key}: {kept['id']} and {row['id']} are one question with two gold answers,"
                    f" {kept['answer']!r} and {row['answer']!r}; correct or remove one"
                )
    return list(first.values()), repeats


def agree(answer: str, gold: str, kind: AnswerKind) -> bool:
    """Tell whether two gold answers are the same; answers that cannot be compared are not."""
    if answer == gold:
        return True
    with Grader() as grader:
        return grader.grade([answer], [gold], kind) == [Verdict.correct]


class EvaluationIndex:
    """The evaluation questions, indexed by text and by n-gram; each is named `<task>/<id>`.

    Attributes:
        wording: n-grams of more than `max_ngram_count` questions, training questions included.
        repeated: questions that also occur in an earlier task. Both tasks keep them.
    """

    def __init__(
        self,
        train: list[QuestionRow],
        tasks: Mapping[str, list[QuestionRow]],
        n: int,
        max_ngram_count: int,
    ) -> None:
        self.n = n
        self.questions: dict[str, str] = {}
        self.repeated: list[Overlap] = []
        for task, row in ((task, row) for task, rows in tasks.items() for row in rows):
            name = f"{task}/{row['id']}"
            first = self.questions.setdefault(normalize(row["question"]), name)
            if first != name:
                self.repeated.append(Overlap(name, first))
        texts = self.questions.keys() | {normalize(row["question"]) for row in train}
        counts = Counter(gram for text in texts for gram in set(ngrams(text, n)))
        self.wording = {gram for gram, count in counts.items() if count > max_ngram_count}
        self.ngrams: dict[str, str] = {}
        for text, name in self.questions.items():
            for gram in own_ngrams(text, n, self.wording):
                self.ngrams.setdefault(gram, name)

    def match(self, row_id: str, question: str) -> Overlap | None:
        """Return the evaluation question that `question` equals or else shares an n-gram with.

        Args:
            row_id: names the question in the result.
            question: the question's text.
        """
        if equal := self.questions.get(normalize(question)):
            return Overlap(row_id, equal)
        grams = own_ngrams(question, self.n, self.wording)
        return next((Overlap(row_id, self.ngrams[g], g) for g in grams if g in self.ngrams), None)


def check_exemplars(prompt: str, questions: list[str], index: EvaluationIndex) -> None:
    """Refuse exemplars that overlap with evaluation questions, whatever `on_contamination` says.

    Args:
        prompt: the prompt's name, for the message.
        questions: the questions of its exemplars.
        index: the evaluation questions.

    Raises:
        StudyError: an exemplar equals an evaluation question or shares an n-gram with it.
    """
    hits = [index.match(f"exemplar {i}", question) for i, question in enumerate(questions, start=1)]
    if found := [overlap for overlap in hits if overlap]:
        raise StudyError(
            f"teacher.prompt: {prompt} shows the teacher evaluation questions: "
            f"{_list(found)}; write its exemplars from training questions"
        )


def decontaminate(
    train: list[QuestionRow], index: EvaluationIndex, on_contamination: Literal["fail", "drop"]
) -> tuple[list[QuestionRow], list[Overlap], list[Overlap]]:
    """Return the clean rows, the overlaps with equal text, and those with a shared n-gram.

    Raises:
        StudyError: rows equal evaluation questions, and `on_contamination` is `fail`.
    """
    matches = [(row, index.match(row["id"], row["question"])) for row in train]
    equal = [overlap for _, overlap in matches if overlap and not overlap.shared]
    sharing = [overlap for _, overlap in matches if overlap and overlap.shared]
    if equal and on_contamination == "fail":
        raise StudyError(
            f"data.train: {len(equal)} training questions are evaluation questions: {_list(equal)};"
            " use another split or seed (item i of a generator is drawn from seed + i), or drop"
            " them with data.on_contamination: drop"
        )
    return [row for row, overlap in matches if not overlap], equal, sharing


def summary(overlaps: list[Overlap]) -> dict[str, Any]:
    """Return the number of overlaps and the first few of them."""
    return {"count": len(overlaps), "examples": [o._asdict() for o in overlaps[:MAX_EXAMPLES]]}


def _list(overlaps: list[Overlap]) -> str:
    return ", ".join(
        f"{o.id} = {o.like}" if o.shared is None else f"{o.id} ~ {o.like} ({o.shared!r})"
        for o in overlaps[:MAX_SHOWN]
    )
