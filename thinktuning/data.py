"""Stage `data`: the training questions and every task's, free of duplicates and of each other.

    thinktuning data --config results/data/config.json --output results/data

writes `train.jsonl` and `eval/<task>.jsonl`, rows `{"id", "question", "answer", "source"}` with the
answer normalised for `thinktuning.answers`, and `decontamination.json`: what was dropped and why.

Questions are compared as tokens, lower-case words and single symbols: `4 - 1 - 7 =` has six. As for
GPT-3 (Brown et al. 2020, appendix C), an n-gram that more than `max_ngram_count` of all questions
share is the task's wording, not a leak. Departure: an n-gram that touches the wording does not
count either. Every 8-gram of "... arithmetic problem: 4 - 1 - 7 =" has more wording than sum;
counting those would drop whatever begins like an evaluation question, most of the default study.
So what counts is eight tokens of a question's own: four terms and their operators.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from thinktuning import files, prompts
from thinktuning.config import DataRun
from thinktuning.errors import StudyError
from thinktuning.loading import MAX_SHOWN, Row, load_rows

MAX_EXAMPLES = 20  # examples a reason in decontamination.json


class Overlap(NamedTuple):
    """A row that equals the row `like` or, with `shared`, has that n-gram in common with it."""

    id: str
    like: str
    shared: str | None = None


def prepare(run: DataRun, output: Path) -> None:
    """Write the data of a study into `output`.

    Raises:
        StudyError: a source cannot be read; an exemplar of the teacher's is an evaluation question,
            or with `on_contamination: fail` a training question is; no training question is left.
    """
    settings = run.data
    loaded = load_rows(settings.train, settings.answer_kind, "train", "data.train")
    train, duplicates = drop_duplicates(loaded)
    tasks: dict[str, list[Row]] = {}
    counts: dict[str, dict[str, Any]] = {}
    for name, task in run.tasks.items():
        rows = load_rows(task.data, task.answer_kind, name, f"tasks.{name}.data")
        tasks[name], repeats = drop_duplicates(rows)
        counts[name] = {"before": len(rows), "after": len(tasks[name])}
        counts[name]["duplicates"] = summary(repeats)

    index = EvaluationIndex(train, tasks, settings.ngram, settings.max_ngram_count)
    for prompt in run.teacher_prompts:
        check_exemplars(prompt, [e.question for e in prompts.load(prompt).exemplars], index)
    train, equal, sharing = decontaminate(train, index, settings.on_contamination)
    if not train:
        raise StudyError(
            f"data.train: no question is left: of {len(loaded)}, {len(duplicates)} were duplicates,"
            f" {len(equal)} are evaluation questions and {len(sharing)} share {settings.ngram} "
            "tokens in a row with one; take another split or seed, or raise data.ngram"
        )
    report = {
        "settings": settings.model_dump(include={"ngram", "max_ngram_count", "on_contamination"})
        | {"teacher_prompts": run.teacher_prompts},
        "train": {
            "before": len(loaded),
            "after": len(train),
            "duplicates": summary(duplicates),
            "evaluation_questions": summary(equal),
            "shared_ngrams": summary(sharing),
        },
        "tasks": counts,
        "kept_in_several_tasks": summary(index.repeated),
        "wording_ngrams": sorted(index.wording)[:MAX_EXAMPLES],
    }
    for name, rows in tasks.items():
        files.write_jsonl(output / "eval" / f"{name}.jsonl", rows)
    for path in (output / "eval").glob("*.jsonl"):
        if path.stem not in tasks:  # of a task that the study no longer has
            path.unlink()
    files.write_jsonl(output / "train.jsonl", train)
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    files.write_text_atomic(output / "decontamination.json", text)


# --- decontamination: pure functions --------------------------------------------------------------


def tokenise(text: str) -> list[str]:
    """Split into lower-case words and single symbols: `4 - 1 =` is `4`, `-`, `1`, `=`."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def normalise(text: str) -> str:
    """Return the spelling in which two questions are compared."""
    return " ".join(tokenise(text))


def ngrams(text: str, n: int) -> list[str]:
    """Return the n-grams of a text in order; a shorter text has none."""
    tokens = tokenise(text)
    return [" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def own_ngrams(text: str, n: int, wording: set[str]) -> list[str]:
    """Return the n-grams of which no token lies within an n-gram of the task's wording."""
    grams = ngrams(text, n)
    covered = {i + k for i, gram in enumerate(grams) if gram in wording for k in range(n)}
    return [gram for i, gram in enumerate(grams) if covered.isdisjoint(range(i, i + n))]


def drop_duplicates(rows: list[Row]) -> tuple[list[Row], list[Overlap]]:
    """Keep the first row of each question."""
    first: dict[str, Row] = {}
    repeats = []
    for row in rows:
        kept = first.setdefault(normalise(row["question"]), row)
        if kept is not row:
            repeats.append(Overlap(row["id"], kept["id"]))
    return list(first.values()), repeats


class EvaluationIndex:
    """The evaluation questions by text and by n-gram, `<task>/<id>` each.

    Attributes:
        wording: the n-grams that more than `max_ngram_count` questions share, training's included.
        repeated: the questions that an earlier task asks too. Each task keeps its own.
    """

    def __init__(
        self, train: list[Row], tasks: Mapping[str, list[Row]], n: int, max_ngram_count: int
    ) -> None:
        self.n = n
        self.questions: dict[str, str] = {}
        self.repeated: list[Overlap] = []
        for task, row in ((task, row) for task, rows in tasks.items() for row in rows):
            name = f"{task}/{row['id']}"
            first = self.questions.setdefault(normalise(row["question"]), name)
            if first != name:
                self.repeated.append(Overlap(name, first))
        texts = self.questions.keys() | {normalise(row["question"]) for row in train}
        counts = Counter(gram for text in texts for gram in set(ngrams(text, n)))
        self.wording = {gram for gram, count in counts.items() if count > max_ngram_count}
        self.ngrams: dict[str, str] = {}
        for text, name in self.questions.items():
            for gram in own_ngrams(text, n, self.wording):
                self.ngrams.setdefault(gram, name)

    def match(self, row_id: str, question: str) -> Overlap | None:
        """Return the evaluation question that `question` equals or else shares an n-gram with."""
        if equal := self.questions.get(normalise(question)):
            return Overlap(row_id, equal)
        grams = own_ngrams(question, self.n, self.wording)
        return next((Overlap(row_id, self.ngrams[g], g) for g in grams if g in self.ngrams), None)


def check_exemplars(prompt: str, questions: list[str], index: EvaluationIndex) -> None:
    """Refuse exemplars that are evaluation questions, whatever `on_contamination` says."""
    hits = [index.match(f"exemplar {i}", question) for i, question in enumerate(questions, start=1)]
    if found := [overlap for overlap in hits if overlap]:
        raise StudyError(
            f"teacher.prompt: {prompt} shows the teacher evaluation questions: "
            f"{_list(found)}; write its exemplars from training questions"
        )


def decontaminate(
    train: list[Row], index: EvaluationIndex, on_contamination: Literal["fail", "drop"]
) -> tuple[list[Row], list[Overlap], list[Overlap]]:
    """Return the clean rows, those that are evaluation questions, those sharing an n-gram."""
    matches = [(row, index.match(row["id"], row["question"])) for row in train]
    equal = [overlap for _, overlap in matches if overlap and not overlap.shared]
    sharing = [overlap for _, overlap in matches if overlap and overlap.shared]
    if equal and on_contamination == "fail":
        raise StudyError(
            f"data.train: {len(equal)} of its questions are evaluation questions: {_list(equal)}; "
            "take another split or seed (item i of a generator is drawn from seed + i), or drop "
            "them with data.on_contamination: drop"
        )
    return [row for row, overlap in matches if not overlap], equal, sharing


def summary(overlaps: list[Overlap]) -> dict[str, Any]:
    """Count overlaps and show the first of them."""
    return {"count": len(overlaps), "examples": [o._asdict() for o in overlaps[:MAX_EXAMPLES]]}


def _list(overlaps: list[Overlap]) -> str:
    return ", ".join(
        f"{o.id} = {o.like}" if o.shared is None else f"{o.id} ~ {o.like} ({o.shared!r})"
        for o in overlaps[:MAX_SHOWN]
    )
