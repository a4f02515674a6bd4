"""Read the sources of a study's questions: generators, files, data sets of the hub.

Every record becomes a row with its gold answer normalised; those that cannot be used are refused
together, each by its line.
"""

import difflib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from thinktuning import benchmarks, files
from thinktuning.answers import AnswerKind, parse_gold
from thinktuning.errors import StudyError
from thinktuning.sources import (
    ConcatSource,
    HubSource,
    JsonlSource,
    ReasoningGymSource,
    SimpleSource,
    Source,
)
from thinktuning.sums import steps

MAX_SHOWN = 10  # mistakes in one message


class Row(TypedDict):
    """One question; `subset` is a part of the task that is reported apart: a year, a subject.

    `solution` is the worked answer without its last line, where the data have one.
    """

    id: str
    question: str
    answer: str
    source: str
    subset: NotRequired[str]
    solution: NotRequired[str]


def load_rows(source: Source, kind: AnswerKind, name: str, key: str) -> list[Row]:
    """Read a source; rows without ids become `<name>-0`, ...; `key` is its place in the study.

    Raises:
        StudyError: the source cannot be read, is empty, repeats an id, or has rows that cannot be
            used, of which the first ten are shown.
    """
    if isinstance(source, ConcatSource):
        return [
            {**row, "id": f"{part}/{row['id']}", "subset": part}
            for part, inner in source.parts.items()
            for row in load_rows(inner, kind, name, f"{key}.parts.{part}")
        ]
    stratify = None if isinstance(source, ReasoningGymSource) else source.stratify
    label, records = _open(source, key)
    rows: list[Row] = []
    strata, mistakes = [], []
    for number, (where, record) in enumerate(records):
        try:
            if isinstance(record, str):
                record = files.parse_row(record, where)
            rows.append(_row(record, source, kind, f"{name}-{number}", label))
            if stratify:
                strata.append(benchmarks.text(record, stratify))
        except StudyError as error:
            mistakes.append(str(error))
        except ValueError as error:
            mistakes.append(f"{where}: {error}")
    if mistakes:
        shown = "\n  ".join(mistakes[:MAX_SHOWN])
        more = f"\n  and {len(mistakes) - MAX_SHOWN} more" if len(mistakes) > MAX_SHOWN else ""
        raise StudyError(f"{key}: {len(mistakes)} rows cannot be used:\n  {shown}{more}")
    if not rows:
        raise StudyError(f"{key}: {label} has no rows")
    if repeated := [i for i, n in Counter(row["id"] for row in rows).items() if n > 1]:
        mend = "" if source.format else "; id_field: null numbers the rows"
        raise StudyError(f"{key}: ids repeat, e.g. {repeated[:3]}{mend}")
    if stratify and source.limit:
        return stratified(rows, strata, source.limit)
    return rows


def stratified(rows: list[Row], strata: list[str], limit: int) -> list[Row]:
    """Return `limit` rows, in order, with each stratum's share of all; which, a hash decides.

    A stratum gets the whole part of `limit * its rows / all rows`; what is left over goes to the
    largest fractions.
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
        for i in sorted(found, key=lambda i: benchmarks.digest(rows[i]["question"]))[
            : quotas[stratum]
        ]
    ]
    return [rows[i] for i in sorted(chosen)]


def _row(record: Any, source: SimpleSource, kind: AnswerKind, number: str, label: str) -> Row:
    """Turn one record into a row; `ValueError` says why it is none."""
    if isinstance(source, ReasoningGymSource):
        item = benchmarks.Item(None, record["question"], str(record["answer"]), None)
    elif source.format:
        item = benchmarks.read(source.format, record)
    else:
        fields = (source.question_field, source.answer_field)
        question, gold = (benchmarks.text(record, field) for field in fields)
        row_id = benchmarks.text(record, source.id_field) if source.id_field else None
        item = benchmarks.Item(row_id, question, gold, None)
    try:
        answer = parse_gold(item.gold, kind)
    except ValueError as error:
        raise ValueError(f"{error}; is answer_kind right?") from None
    row: Row = {
        "id": item.id or number,
        "question": item.question,
        "answer": answer,
        "source": label,
    }
    if item.subset:
        row["subset"] = item.subset
    if solution := worked_solution(record):
        row["solution"] = solution
    return row


def worked_solution(record: Mapping[str, Any]) -> str | None:
    """Return GSM8K's rationale, or that of reasoning_gym's gsm_symbolic, or the steps of a sum.

    GSM8K's `<<...>>` are taken out; a sum of reasoning_gym's is worked out a step a line.
    """
    metadata = record.get("metadata")
    text = record.get("answer")
    if isinstance(metadata, Mapping):
        done = steps(str(metadata.get("expression")))
        if done and str(done[-1].after) == text:
            return "\n".join(f"{s.before} {s.sign} {s.term} = {s.after}" for s in done)
        text = metadata.get("answer_cot")
    if not isinstance(text, str) or "####" not in text:
        return None
    return re.sub(r"<<.*?>>", "", text.rsplit("####", 1)[0]).strip() or None


def _open(source: SimpleSource, key: str) -> tuple[str, Iterable[tuple[str, Any]]]:
    """Return a source's label and its records, each with the place that messages name."""
    if isinstance(source, ReasoningGymSource):
        label = f"reasoning_gym:{source.generator}"
        return label, ((f"{label}[{i}]", row) for i, row in enumerate(generate(source, key)))
    limit = None if source.stratify else source.limit
    if isinstance(source, JsonlSource):
        if not Path(source.path).is_file():
            raise StudyError(f"{key}.path: there is no file {source.path} in {Path.cwd()}")
        lines = files.numbered_lines(source.path)
        return f"jsonl:{source.path}", itertools.islice(lines, limit)
    label = f"hub:{source.repo}@{source.revision[:8]}"
    rows = itertools.islice(_download(source, key), limit)
    return label, ((f"{label}:{source.split}[{i}]", row) for i, row in enumerate(rows))


def generate(source: ReasoningGymSource, key: str) -> Iterator[dict[str, Any]]:
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
