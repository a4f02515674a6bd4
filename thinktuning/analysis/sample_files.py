"""Read the answers of one evaluation: our samples.jsonl, or lm-eval's `--log_samples` file.

lm-eval writes samples_<task>_<date>.jsonl with a row per document and filter: `doc_id`, `doc_hash`,
`prompt_hash`, `filter`, the names of its `metrics` and their values.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl

Row = Mapping[str, Any]
Marks = tuple[str | None, ...]

OUR_KEYS = ("id", "correct", "text")
THEIR_KEYS = ("doc_id", "resps")
METRICS = ("exact_match", "acc")  # taken, in this order, where a file has several
NO_METRICS = ("doc_id", "target")  # other columns that may have numbers


@dataclass(frozen=True)
class Question:
    """One question's samples.

    Attributes:
        texts: the answers.
        scores: of each answer or, in lm-eval's files, one for all.
        gold: the gold answer, None if the file has none.
        document: what identifies the question's content: its hash, itself; None for what the file
            does not have.
        prompt: the same of the prompt.
    """

    texts: list[str]
    scores: list[float]
    gold: str | None
    document: Marks
    prompt: Marks

    def example(self, right: bool) -> str:
        """Return the first text with this verdict, or the first one."""
        verdicts = self.scores if len(self.scores) == len(self.texts) else [0.0] * len(self.texts)
        found = (text for text, score in zip(self.texts, verdicts, strict=True) if score == right)
        return next(found, self.texts[0])


@dataclass(frozen=True)
class SampleFile:
    """The answers in a file.

    Attributes:
        path: the file.
        questions: by id.
        metric: names the score in lm-eval's files, else None.
        failures: shares of the answers that are none, or were cut off, where the file says so.
    """

    path: Path
    questions: dict[str, Question]
    metric: str | None
    failures: dict[str, float]

    @property
    def k(self) -> int:
        """The number of scores of each question."""
        return len(next(iter(self.questions.values())).scores)

    @property
    def has_verdicts(self) -> bool:
        """Whether each answer is right or wrong; a metric such as F1 gives some part of a point."""
        return all(
            len(question.texts) > 1 or score in (0, 1)
            for question in self.questions.values()
            for score in question.scores
        )

    def correct(self, keys: Iterable[str]) -> NDArray[np.float64]:
        """Return the scores of these questions, of shape (N, K)."""
        return np.array([self.questions[key].scores for key in keys], dtype=float)


def read_sample_file(
    path: Path, metric: str | None = None, filter_name: str | None = None
) -> SampleFile:
    """Read a file of either kind, questions in the order of the file.

    Args:
        path: the file.
        metric: of lm-eval's metrics, the one to compare; None: exact_match, acc or the only one.
        filter_name: of lm-eval's filters, the one to compare; None: the only one.

    Raises:
        StudyError: the file is missing or broken, or leaves open which scores to compare.
    """
    rows = list(read_jsonl(path))
    if rows and "doc_id" in rows[0] and "id" not in rows[0]:
        return read_lm_eval(path, rows, metric, filter_name)
    if metric or filter_name:
        raise StudyError(f"{path}: --metric and --filter are for files of lm-eval's --log_samples")
    found: dict[str, list[Row]] = {}
    for number, row in enumerate(rows, start=1):
        check_row(path, number, row, OUR_KEYS)
        if not isinstance(row["correct"], bool) or not isinstance(row["text"], str):
            raise StudyError(
                f"{path}: sample {number}: `correct` must be true or false, and `text` a string"
            )
        found.setdefault(str(row["id"]), []).append(row)
    for key, samples in found.items():
        numbers = [row["sample"] for row in samples if "sample" in row]
        if len(set(numbers)) < len(numbers):
            raise StudyError(
                f"{path}: question {key!r} has a sample twice; pass the file of one run"
            )
    counts = {len(samples) for samples in found.values()}
    if len(found) < 2 or len(counts) != 1:
        raise StudyError(
            f"{path}: has {len(found)} questions with {min(counts, default=0)} to"
            f" {max(counts, default=0)} samples; needs at least two questions, and the same number"
            " of samples for each"
        )
    questions = {key: our_question(path, key, samples) for key, samples in found.items()}
    return SampleFile(path, questions, None, failures(rows))


def failures(rows: Sequence[Row]) -> dict[str, float]:
    """Return the shares of our answers that are none, and that were cut off."""
    kinds = {"no answer": ("verdict", "no_answer"), "cut off": ("finish_reason", "length")}
    return {
        name: sum(row[key] == value for row in rows) / len(rows)
        for name, (key, value) in kinds.items()
        if all(key in row for row in rows)
    }


def our_question(path: Path, key: str, rows: Sequence[Row]) -> Question:
    """Return a question of our samples.jsonl."""
    golds = {str(row["gold"]) for row in rows if "gold" in row}
    if len(golds) > 1:
        raise StudyError(
            f"{path}: question {key!r} has different gold answers,"
            f" {' and '.join(sorted(map(repr, golds)))}"
        )
    return Question(
        texts=[row["text"] for row in rows],
        scores=[float(row["correct"]) for row in rows],
        gold=next(iter(golds), None),
        document=(),
        prompt=(rows[0].get("prompt_hash"),),
    )


def read_lm_eval(
    path: Path, rows: Sequence[Row], metric: str | None, filter_name: str | None
) -> SampleFile:
    """Return the questions of lm-eval's file under one filter and metric."""
    for number, row in enumerate(rows, start=1):
        check_row(path, number, row, THEIR_KEYS)
    filters = list(dict.fromkeys(str(row.get("filter", "none")) for row in rows))
    chosen = choose(path, "filter", filters, filter_name, ())
    rows = [row for row in rows if str(row.get("filter", "none")) == chosen]
    name = choose(path, "metric", metric_names(rows[0]), metric, METRICS)
    questions: dict[str, Question] = {}
    for row in rows:
        key, value = str(row["doc_id"]), row.get(name)
        if key in questions:
            raise StudyError(f"{path}: document {key} is there twice; pass the file of one run")
        if not is_score(value) or not 0 <= value <= 1:
            raise StudyError(
                f"{path}: document {key}: {name} is {value!r}, not a score from 0 to 1; choose"
                " another --metric"
            )
        target = row.get("target")
        questions[key] = Question(
            texts=response_texts(row["resps"]),
            scores=[float(value)],
            gold=None if target is None else str(target),
            document=(row.get("doc_hash"), canonical(row.get("doc"))),
            prompt=(row.get("prompt_hash"), prompt_text(row.get("arguments"))),
        )
    if len(questions) < 2:
        raise StudyError(f"{path}: has {len(questions)} documents; needs at least two")
    found = [row["no_answer"] for row in rows if is_score(row.get("no_answer"))]  # of our tasks
    unanswered = {"no answer": sum(found) / len(rows)} if len(found) == len(rows) else {}
    return SampleFile(path, questions, f"{name}, filter {chosen}", unanswered)


def metric_names(row: Row) -> list[str]:
    """Return the metrics of a row; files of lm-eval before 0.4.5 do not list them."""
    names = row.get("metrics")
    if not isinstance(names, list) or not names:
        names = [key for key in row if key not in NO_METRICS and is_score(row[key])]
    return [str(name) for name in names]


def is_score(value: Any) -> TypeGuard[float]:
    """Tell whether a value of a JSON file is a number, or a verdict that counts as one."""
    return isinstance(value, int | float)


def choose(
    path: Path, what: str, found: Sequence[str], wanted: str | None, preferred: Sequence[str]
) -> str:
    """Return the one to compare, of a file's filters or metrics."""
    listed = ", ".join(found) or "none"
    if wanted is not None:
        if wanted not in found:
            raise StudyError(f"{path}: has no {what} {wanted}, but {listed}")
        return wanted
    for name in (*preferred, *found[: len(found) == 1]):
        if name in found:
            return name
    raise StudyError(f"{path}: has the {what}s {listed}; choose one with --{what}")


def check_row(path: Path, number: int, row: Row, keys: Sequence[str]) -> None:
    """Refuse a row without these keys."""
    if absent := [key for key in keys if key not in row]:
        raise StudyError(
            f"{path}: sample {number} has no {', '.join(absent)}; pass a samples.jsonl, or a file"
            " of lm-eval's --log_samples"
        )


def response_texts(resps: Any) -> list[str]:
    """Return the generated texts or, for a choice by likelihood, the option that was chosen."""
    if isinstance(resps, list) and resps and isinstance(resps[0], list):
        if all(isinstance(text, str) for text in resps[0]):
            return resps[0] or [""]
        try:
            chances = [float(option[0][0]) for option in resps]
        except (TypeError, ValueError, IndexError, KeyError):
            return [json.dumps(resps)]
        return [f"option {int(np.argmax(chances)) + 1} of {len(chances)}, by likelihood"]
    return [json.dumps(resps)]


def prompt_text(arguments: Any) -> str | None:
    """Return the prompt of a row's first request, without what it was sampled with."""
    requests = arguments.values() if isinstance(arguments, dict) else arguments or ()
    first = next(iter(requests), None)
    if isinstance(first, dict):
        first = list(first.values())
    return first[0] if isinstance(first, list) and first and isinstance(first[0], str) else None


def canonical(value: Any) -> str | None:
    """Return text that is equal for equal values."""
    return None if value is None else json.dumps(value, sort_keys=True)
