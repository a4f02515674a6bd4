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

import difflib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from thinktuning import files, prompts
from thinktuning.answers import AnswerKind, parse_gold
from thinktuning.config import DataRun, StudyError
from thinktuning.schema import HubSource, JsonlSource, ReasoningGymSource, Source

MAX_SHOWN = 10  # mistakes in one message
MAX_EXAMPLES = 20  # examples a reason in decontamination.json


class Row(TypedDict):
    """One question."""

    id: str
    question: str
    answer: str
    source: str


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


# --- sources --------------------------------------------------------------------------------------


def load_rows(source: Source, kind: AnswerKind, name: str, key: str) -> list[Row]:
    """Read a source; rows without ids become `<name>-0`, ...; `key` is its place in the study.

    Raises:
        StudyError: the source cannot be read, is empty, repeats an id, or has rows that cannot be
            used, of which the first ten are shown.
    """
    label, records = _open(source, key)
    rows, mistakes = [], []
    for number, (where, record) in enumerate(records):
        try:
            rows.append(_row(record, where, source, kind, f"{name}-{number}", label))
        except StudyError as error:
            mistakes.append(str(error))
    if mistakes:
        shown = "\n  ".join(mistakes[:MAX_SHOWN])
        more = f"\n  and {len(mistakes) - MAX_SHOWN} more" if len(mistakes) > MAX_SHOWN else ""
        raise StudyError(f"{key}: {len(mistakes)} rows cannot be used:\n  {shown}{more}")
    if not rows:
        raise StudyError(f"{key}: {label} has no rows")
    if repeated := [i for i, n in Counter(row["id"] for row in rows).items() if n > 1]:
        raise StudyError(f"{key}.id_field: ids repeat, e.g. {repeated[:3]}; null numbers the rows")
    return rows


def _row(record: Any, where: str, source: Source, kind: AnswerKind, number: str, label: str) -> Row:
    """Turn one record, or one line of a JSONL file, into a row."""
    if isinstance(record, str):
        record = files.parse_row(record, where)
    fields: list[str | None] = ["question", "answer", None]
    if not isinstance(source, ReasoningGymSource):
        fields = [source.question_field, source.answer_field, source.id_field]
    values = []
    for field in fields:
        value = record.get(field, number if field is None else None)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            found = f"is {value!r}" if field in record else f"is missing; there are {list(record)}"
            raise StudyError(f"{where}: field {field!r} {found}")
        values.append(str(value))
    question, gold, row_id = values
    if not tokenise(question):
        raise StudyError(f"{where}: field {fields[0]!r} holds no question: {question!r}")
    try:
        return {
            "id": row_id,
            "question": question,
            "answer": parse_gold(gold, kind),
            "source": label,
        }
    except ValueError as error:
        raise StudyError(f"{where}: {error}; is answer_kind right?") from None


def _open(source: Source, key: str) -> tuple[str, Iterable[tuple[str, Any]]]:
    """Return a source's label and its records, each with the place that messages name."""
    if isinstance(source, ReasoningGymSource):
        label = f"reasoning_gym:{source.generator}"
        return label, ((f"{label}[{i}]", row) for i, row in enumerate(_generate(source, key)))
    if isinstance(source, JsonlSource):
        if not Path(source.path).is_file():
            raise StudyError(f"{key}.path: there is no file {source.path} in {Path.cwd()}")
        lines = files.numbered_lines(source.path)
        return f"jsonl:{source.path}", itertools.islice(lines, source.limit)
    label = f"hub:{source.repo}@{source.revision[:8]}"
    rows = itertools.islice(_download(source, key), source.limit)
    return label, ((f"{label}:{source.split}[{i}]", row) for i, row in enumerate(rows))


def _generate(source: ReasoningGymSource, key: str) -> Iterator[dict[str, Any]]:
    """Generate problems. Item i is drawn from seed + i: seeds less than a size apart overlap."""
    import reasoning_gym

    known = list(reasoning_gym.factory.DATASETS)
    if source.generator not in known:
        near = difflib.get_close_matches(source.generator, known, n=3) or sorted(known)
        raise StudyError(
            f"{key}.generator: reasoning_gym has no {source.generator!r}, but {', '.join(near)}"
        )
    if misplaced := {"name", "size", "seed"} & source.params.keys():
        raise StudyError(f"{key}.params: {sorted(misplaced)} belong beside `params`, not in it")
    try:
        yield from reasoning_gym.create_dataset(
            source.generator, size=source.size, seed=source.seed, **source.params
        )
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        raise StudyError(
            f"{key}.params: {source.generator} refuses {source.params}: {error}"
        ) from error


def _download(source: HubSource, key: str) -> Iterable[dict[str, Any]]:
    """Load a data set of the hub, or a local directory laid out like one."""
    import datasets

    name, split, revision = source.name, source.split, source.revision
    try:
        rows: Iterable[dict[str, Any]] = datasets.load_dataset(
            source.repo, name, split=split, revision=revision
        )
    except datasets.exceptions.DatasetNotFoundError as error:
        mend = "check repo and revision; a gated one needs its terms accepted and HF_TOKEN set"
        raise StudyError(f"{key}.repo: {error} ({mend})") from error
    except ConnectionError as error:
        mend = "this stage needs the network once, or `source: jsonl` and a downloaded file"
        raise StudyError(f"{key}.repo: {error} ({mend})") from error
    except (datasets.exceptions.DatasetsError, OSError, RuntimeError, ValueError) as error:
        what = f"{source.repo} (name {name}, split {split}, revision {revision})"
        raise StudyError(f"{key}: {what} cannot be loaded: {error}") from error
    return rows


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
