"""Read a study's questions from generators, local files and datasets on the Hugging Face hub.

Every record becomes a row with a normalized gold answer; unusable records are reported together,
each with its line.
"""

import difflib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from thinktuning.data import formats
from thinktuning.data.config import (
    ConcatConfig,
    HubConfig,
    JsonlConfig,
    ReasoningGymConfig,
    RecordsConfig,
    SimpleSource,
    Source,
)
from thinktuning.grading.answers import AnswerKind, BadGold, parse_gold
from thinktuning.io import files
from thinktuning.io.errors import StudyError
from thinktuning.models import families
from thinktuning.models.sums import steps

MAX_SHOWN = 10  # errors in one message


class QuestionRow(TypedDict):
    """One question; `subset` is a part of the task that is reported separately, e.g. a year.

    `solution` is the worked solution without the final answer, if the dataset has one; `options`
    are the texts of options A, B, ...
    """

    id: str
    question: str
    answer: str
    source: str
    subset: NotRequired[str]
    solution: NotRequired[str]
    options: NotRequired[list[str]]


BadGolds = dict[str, list[str]]  # where the questions are that were dropped, by reason


def load_rows(
    source: Source, kind: AnswerKind, name: str, key: str, dropped: BadGolds | None = None
) -> list[QuestionRow]:
    """Read a source.

    Args:
        source: the source's section.
        kind: the kind of its gold answers.
        name: rows without an id become `<name>-0`, `<name>-1`, ...
        key: the key path of the source in the study, for messages.
        dropped: if given, rows whose gold answer cannot be graded are dropped and added to it.

    Raises:
        StudyError: the source cannot be read, is empty, repeats an id, or has unusable rows, the
            first ten of which are shown.
    """
    if isinstance(source, ConcatConfig):
        return [
            {**row, "id": f"{part}/{row['id']}", "subset": part}
            for part, inner in source.parts.items()
            for row in load_rows(inner, kind, name, f"{key}.parts.{part}", dropped)
        ]
    records_of = source if isinstance(source, RecordsConfig) else RecordsConfig()
    stratify = records_of.stratify
    label, records = _open(source, key)
    rows: list[QuestionRow] = []
    strata, mistakes = [], []
    for number, (where, record) in enumerate(records):
        try:
            if isinstance(record, str):
                record = files.parse_row(record, where, own=True)
            rows.append(_row(record, source, kind, f"{name}-{number}", label))
            if stratify:
                strata.append(formats.text(record, stratify))
        except StudyError as error:
            mistakes.append(str(error))
        except ValueError as error:
            if isinstance(error, BadGold) and dropped is not None:
                dropped.setdefault(error.reason, []).append(where)
            else:
                mistakes.append(f"{where}: {error}")
    if mistakes:
        shown = "\n  ".join(mistakes[:MAX_SHOWN])
        more = f"\n  and {len(mistakes) - MAX_SHOWN} more" if len(mistakes) > MAX_SHOWN else ""
        raise StudyError(f"{key}: {len(mistakes)} rows cannot be used:\n  {shown}{more}")
    if not rows:
        why = f": all its gold answers were dropped {dict(dropped)!r:.300}" if dropped else ""
        raise StudyError(f"{key}: {label} has no rows{why}")
    if repeated := [i for i, n in Counter(row["id"] for row in rows).items() if n > 1]:
        fix = "" if records_of.format else "; set id_field: null to number the rows"
        raise StudyError(f"{key}: ids repeat, e.g. {repeated[:3]}{fix}")
    if stratify and records_of.limit:
        return stratified(rows, strata, records_of.limit)
    return rows


def stratified(rows: list[QuestionRow], strata: list[str], limit: int) -> list[QuestionRow]:
    """Return `limit` rows, in order, that keep each stratum's share; a hash selects the rows.

    A stratum gets floor(limit * its rows / all rows); the rest goes to the largest fractions.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for i, stratum in enumerate(strata):
        members[stratum].append(i)
    limit = min(limit, len(rows))
    quotas = {stratum: limit * len(found) // len(rows) for stratum, found in members.items()}
    by_fraction = sorted(members, key=lambda s: (-(limit * len(members[s]) % len(rows)), s))
    for stratum in by_fraction[: limit - sum(quotas.values())]:
        quotas[stratum] += 1
    chosen = [
        i
        for stratum, found in members.items()
        for i in sorted(found, key=lambda i: formats.digest(rows[i]["question"]))[: quotas[stratum]]
    ]
    return [rows[i] for i in sorted(chosen)]


def _row(
    record: Any, source: SimpleSource, kind: AnswerKind, number: str, label: str
) -> QuestionRow:
    """Turn one record into a row; a `ValueError` says why that is impossible."""
    solution: str | None = None
    columns: dict[str, str] = {}
    if isinstance(source, ReasoningGymConfig):
        item = formats.Item(None, record["question"], str(record["answer"]), None)
    elif own := source.own_format:
        item, solution, columns = formats.read_own(own, record)
    elif source.format:
        item = formats.read(source.format, record)
    else:
        fields = (source.question_field, source.answer_field)
        question, gold = (formats.text(record, field) for field in fields)
        row_id = formats.text(record, source.id_field) if source.id_field else None
        item = formats.Item(row_id, question, gold, None)
    try:
        answer = parse_gold(item.gold, kind)
    except BadGold as error:
        message = f"{error}; check answer_kind, or drop such rows with data.on_bad_gold: drop"
        raise BadGold(message, error.reason) from None
    row: QuestionRow = {
        "id": item.id or number,
        "question": item.question,
        "answer": answer,
        "source": label,
    }
    if item.subset:
        row["subset"] = item.subset
    if item.options:
        row["options"] = item.options
    if solution := solution or worked_solution(record):
        row["solution"] = solution
    return cast(QuestionRow, {**columns, **row})


def worked_solution(record: Mapping[str, Any]) -> str | None:
    """Return the rationale of GSM8K or reasoning_gym's gsm_symbolic, or the steps of a problem.

    GSM8K's `<<...>>` annotations are removed; a sum from reasoning_gym, and a problem of a task
    family (`models.families`), is solved one step per line.
    """
    metadata = record.get("metadata")
    text = record.get("answer")
    if isinstance(metadata, Mapping):
        done = steps(str(metadata.get("expression")))
        if done and str(done[-1].after) == text:
            return "\n".join(f"{s.before} {s.sign} {s.term} = {s.after}" for s in done)
        if family := families.of_generator(str(metadata.get("source_dataset"))):
            found = family.derive(family.expression(metadata), lambda result: result)
            return (
                "\n".join(found.text.removesuffix(".").split("; "))
                if str(found.value) == text
                else None
            )
        text = metadata.get("answer_cot")
    if not isinstance(text, str) or "####" not in text:
        return None
    return re.sub(r"<<.*?>>", "", text.rsplit("####", 1)[0]).strip() or None


def _open(source: SimpleSource, key: str) -> tuple[str, Iterable[tuple[str, Any]]]:
    """Return a source's label and its records, each with its location for messages."""
    if isinstance(source, ReasoningGymConfig):
        label = f"reasoning_gym:{source.generator}"
        return label, ((f"{label}[{i}]", row) for i, row in enumerate(generate(source, key)))
    limit = None if source.stratify else source.limit
    if isinstance(source, JsonlConfig):
        if not Path(source.path).is_file():
            raise StudyError(f"{key}.path: there is no file {source.path} in {Path.cwd()}")
        lines = files.numbered_lines(source.path)
        return f"jsonl:{source.path}", itertools.islice(lines, limit)
    label = f"hub:{source.repo}@{source.revision[:8]}"
    rows = itertools.islice(_download(source, key), limit)
    return label, ((f"{label}:{source.split}[{i}]", row) for i, row in enumerate(rows))


def generate(source: ReasoningGymConfig, key: str) -> Iterator[dict[str, Any]]:
    """Generate problems; item i is drawn from seed + i, so seeds less than a size apart overlap.

    Raises:
        StudyError: the generator does not exist or refuses its parameters.
    """
    import reasoning_gym

    known = list(reasoning_gym.factory.DATASETS)
    if source.generator not in known:
        near = difflib.get_close_matches(source.generator, known, n=3) or sorted(known)
        raise StudyError(
            f"{key}.generator: reasoning_gym has no {source.generator!r}; choose from"
            f" {', '.join(near)}"
        )
    if misplaced := {"name", "size", "seed"} & source.params.keys():
        raise StudyError(f"{key}.params: move {sorted(misplaced)} out of `params`, next to it")
    try:
        yield from reasoning_gym.create_dataset(
            source.generator, size=source.size, seed=source.seed, **source.params
        )
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        raise StudyError(
            f"{key}.params: {source.generator} refuses {source.params}: {error}"
        ) from error


def _download(source: HubConfig, key: str) -> Iterable[dict[str, Any]]:
    """Load a dataset from the hub, or from a local directory laid out like one."""
    import datasets

    name, split, revision = source.name, source.split, source.revision
    if not Path(source.repo).is_absolute() and Path(source.repo).exists():
        raise StudyError(
            f"{key}.repo: {source.repo} is also in {Path.cwd()}, and would be read there, at no"
            " revision; move it, or use `source: jsonl` for a file of your own"
        )
    try:
        rows: Iterable[dict[str, Any]] = datasets.load_dataset(
            source.repo, name, split=split, revision=revision
        )
    except datasets.exceptions.DatasetNotFoundError as error:
        fix = "check repo and revision; for a gated dataset, accept its terms and set HF_TOKEN"
        raise StudyError(f"{key}.repo: {error} ({fix})") from error
    except ConnectionError as error:
        fix = "run this stage once with network access, or use `source: jsonl` and a local file"
        raise StudyError(f"{key}.repo: {error} ({fix})") from error
    except (datasets.exceptions.DatasetsError, OSError, RuntimeError, ValueError) as error:
        what = f"{source.repo} (name {name}, split {split}, revision {revision})"
        raise StudyError(f"{key}: {what} cannot be loaded: {error}") from error
    return rows
