"""Stage `data`: prepare the questions for training and evaluation, deduplicated and decontaminated.

    thinktuning data --config results/data/config.json --output results/data

writes `train.jsonl` and `eval/<task>.jsonl`, rows `{"id", "question", "answer", "source"}` with the
answer in the canonical form of `thinktuning.grading.answers`, and `decontamination.json`: what was
dropped and why, and the hashes of these files, by which later stages notice a change.

    thinktuning exemplars --config results/data/exemplars.config.json --data results/data ...

checks that no teacher is shown evaluation questions. It is a job of its own, so that a new prompt
does not prepare the questions again, and with them train the methods that do not use it.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from thinktuning.data.config import FEW_QUESTIONS, LEAST_QUESTIONS
from thinktuning.data.decontamination import (
    MAX_EXAMPLES,
    EvaluationIndex,
    check_exemplars,
    decontaminate,
    drop_duplicates,
    summary,
)
from thinktuning.data.sources import BadGolds, QuestionRow, load_rows
from thinktuning.io import files
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import DataJob, ExemplarsJob
from thinktuning.teachers.prompts import load

logger = logging.getLogger(__name__)

ON_FAULT = ("on_contamination", "on_bad_gold")


def prepare(job: DataJob, output: Path) -> None:
    """Write a study's questions into `output`.

    Raises:
        StudyError: a source cannot be read; with `on_contamination: fail` a training question is
            an evaluation question; no training question is left, or too few of a task.
    """
    settings = job.data
    bad: BadGolds | None = {} if settings.on_bad_gold == "drop" else None
    loaded = load_rows(settings.train, settings.answer_kind, "train", "data.train", bad)
    train, duplicates = drop_duplicates(loaded, settings.answer_kind, "data.train")
    tasks: dict[str, list[QuestionRow]] = {}
    counts: dict[str, dict[str, Any]] = {}
    for name, task in job.tasks.items():
        bad_here: BadGolds | None = None if bad is None else {}
        rows = load_rows(task.data, task.answer_kind, name, f"tasks.{name}.data", bad_here)
        tasks[name], repeats = drop_duplicates(rows, task.answer_kind, f"tasks.{name}.data")
        counts[name] = {"before": num_read(rows, bad_here), "after": len(tasks[name])}
        counts[name]["bad_golds"] = by_reason(bad_here)
        counts[name]["duplicates"] = summary(repeats)
        if (left := len(tasks[name])) < LEAST_QUESTIONS:
            raise StudyError(
                f"tasks.{name}.data: {left or 'no'} question is left of {counts[name]['before']}:"
                f" {FEW_QUESTIONS}; take more, or another split"
            )

    index = EvaluationIndex(train, tasks, settings.ngram, settings.max_ngram_count)
    warn_of_shared(index, tasks)
    train, equal, sharing = decontaminate(train, index, settings.on_contamination)
    if not train:
        raise StudyError(
            f"data.train: no question is left: of {len(loaded)}, {len(duplicates)} are duplicates,"
            f" {len(equal)} are evaluation questions and {len(sharing)} share {settings.ngram} "
            "consecutive tokens with one; use another split or seed, or raise data.ngram"
        )
    report = {
        "settings": settings.model_dump(include={"ngram", "max_ngram_count", *ON_FAULT}),
        "train": {
            "before": num_read(loaded, bad),
            "after": len(train),
            "bad_golds": by_reason(bad),
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
        if path.stem not in tasks:  # the study no longer has this task
            path.unlink()
    files.write_jsonl(output / "train.jsonl", train)
    names = ["train.jsonl", *(f"eval/{name}.jsonl" for name in tasks)]
    report["sha256"] = {name: files.sha256(output / name) for name in names}
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    files.write_text_atomic(output / "decontamination.json", text)


def warn_of_shared(index: EvaluationIndex, tasks: Mapping[str, list[QuestionRow]]) -> None:
    """Warn of questions that several tasks ask, which the mean of tasks takes as independent."""
    for name, count in Counter(each.id.split("/")[0] for each in index.repeated).items():
        logger.warning(
            f"tasks.{name}.data: {count} of {len(tasks[name])} questions are also of an earlier"
            " task: the mean of tasks counts them twice, so that its interval is too narrow"
            " (decontamination.json: kept_in_several_tasks)."
        )


def num_read(rows: list[QuestionRow], bad: BadGolds | None) -> int:
    """Return the number of rows that a source has, those with bad gold answers included."""
    return len(rows) + sum(map(len, (bad or {}).values()))


def by_reason(bad: BadGolds | None) -> dict[str, Any]:
    """Return the number of questions that were dropped for their gold answer, and the first few."""
    return {
        reason: {"count": len(places), "examples": places[:MAX_EXAMPLES]}
        for reason, places in sorted((bad or {}).items())
    }


def exemplars(job: ExemplarsJob, data: Path, output: Path) -> None:
    """Check the exemplars of the teachers' prompts, and write how many were checked.

    Args:
        job: names the prompts.
        data: the directory of the prepared questions.
        output: the file to write.

    Raises:
        StudyError: an exemplar overlaps with an evaluation question.
    """
    paths = [data / "train.jsonl", *sorted((data / "eval").glob("*.jsonl"))]
    train, *tasks = [cast(list[QuestionRow], list(files.read_jsonl(path))) for path in paths]
    names = [path.stem for path in paths[1:]]
    index = EvaluationIndex(
        train, dict(zip(names, tasks, strict=True)), job.ngram, job.max_ngram_count
    )
    checked = {}
    for prompt in job.teacher_prompts:
        questions = [exemplar.question for exemplar in load(prompt).exemplars]
        check_exemplars(prompt, questions, index)
        checked[prompt] = len(questions)
    files.write_text_atomic(output, json.dumps({"checked": checked}, indent=2) + "\n")
