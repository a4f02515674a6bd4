"""Stage `data`: prepare the questions for training and evaluation, deduplicated and decontaminated.

    thinktuning data --config results/data/config.json --output results/data

writes `train.jsonl` and `eval/<task>.jsonl`, rows `{"id", "question", "answer", "source"}` with the
answer normalized for `thinktuning.grading.answers`, and `decontamination.json`: what was dropped
and why.
"""

import json
from pathlib import Path
from typing import Any

from thinktuning.data.decontamination import (
    MAX_EXAMPLES,
    EvaluationIndex,
    check_exemplars,
    decontaminate,
    drop_duplicates,
    summary,
)
from thinktuning.data.sources import QuestionRow, load_rows
from thinktuning.io import files
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import DataJob
from thinktuning.teachers.prompts import load


def prepare(job: DataJob, output: Path) -> None:
    """Write a study's questions into `output`.

    Raises:
        StudyError: a source cannot be read; a teacher exemplar is an evaluation question, or with
            `on_contamination: fail` a training question is; no training question is left.
    """
    settings = job.data
    loaded = load_rows(settings.train, settings.answer_kind, "train", "data.train")
    train, duplicates = drop_duplicates(loaded, settings.answer_kind, "data.train")
    tasks: dict[str, list[QuestionRow]] = {}
    counts: dict[str, dict[str, Any]] = {}
    for name, task in job.tasks.items():
        rows = load_rows(task.data, task.answer_kind, name, f"tasks.{name}.data")
        tasks[name], repeats = drop_duplicates(rows, task.answer_kind, f"tasks.{name}.data")
        counts[name] = {"before": len(rows), "after": len(tasks[name])}
        counts[name]["duplicates"] = summary(repeats)

    index = EvaluationIndex(train, tasks, settings.ngram, settings.max_ngram_count)
    for prompt in job.teacher_prompts:
        check_exemplars(prompt, [e.question for e in load(prompt).exemplars], index)
    train, equal, sharing = decontaminate(train, index, settings.on_contamination)
    if not train:
        raise StudyError(
            f"data.train: no question is left: of {len(loaded)}, {len(duplicates)} are duplicates,"
            f" {len(equal)} are evaluation questions and {len(sharing)} share {settings.ngram} "
            "consecutive tokens with one; use another split or seed, or raise data.ngram"
        )
    report = {
        "settings": settings.model_dump(include={"ngram", "max_ngram_count", "on_contamination"})
        | {"teacher_prompts": job.teacher_prompts},
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
        if path.stem not in tasks:  # the study no longer has this task
            path.unlink()
    files.write_jsonl(output / "train.jsonl", train)
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    files.write_text_atomic(output / "decontamination.json", text)
