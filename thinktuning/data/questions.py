"""Prepared questions, as the data stage writes them and the later stages read them."""

import json
from pathlib import Path
from typing import Any

from thinktuning.grading.answers import AnswerKind, parse_gold
from thinktuning.io.errors import StudyError
from thinktuning.io.files import check_recorded, read_jsonl


def read_questions(data: Path, kind: AnswerKind) -> list[dict[str, Any]]:
    """Read the prepared questions.

    LaTeX gold answers are not checked: parsing them again would take too long.

    Raises:
        StudyError: the file has no rows, or a row that the data stage did not write; or it has
            changed since.
    """
    check_unchanged(data)
    rows = list(read_jsonl(data))
    if not rows:
        raise StudyError(f"{data}: has no questions; `thinktuning data` writes them")
    for number, row in enumerate(rows, start=1):
        where, fields = f"{data}: row {number}", {"id", "question", "answer", *row}
        if bad := sorted(name for name in fields if not is_prepared(name, row.get(name))):
            raise StudyError(
                f"{where}: {bad} must be text, options a list of texts; `thinktuning data` writes"
                " such rows"
            )
        try:
            prepared = kind == "latex" or parse_gold(row["answer"], kind) == row["answer"]
        except ValueError:
            prepared = False
        if not prepared:
            raise StudyError(
                f"{where}: its gold answer {row['answer']!r} is not a prepared {kind}; check"
                " answer_kind and run `thinktuning data` again"
            )
    return rows


def check_unchanged(data: Path) -> None:
    """Refuse questions that are not those that the study's sources gave.

    Args:
        data: train.jsonl or eval/TASK.jsonl; elsewhere than where the data stage writes them, or
            made by an earlier version, there is no record to compare with.

    Raises:
        StudyError: names the file.
    """
    for directory in (data.parent, data.parent.parent):
        record = directory / "decontamination.json"
        try:
            recorded = json.loads(record.read_text(encoding="utf-8")).get("sha256", {})
        except (OSError, ValueError, AttributeError):
            continue
        made = recorded.get(data.relative_to(directory).as_posix())
        why = (
            "after `thinktuning data` wrote it; change the study's data instead, and run"
            " `snakemake -R data`"
        )
        check_recorded(data, made, str(record), why)


def is_prepared(name: str, value: Any) -> bool:
    """Return whether a field is text, or the list of a question's options."""
    texts = value if name == "options" and isinstance(value, list) else [value]
    return all(isinstance(text, str) for text in texts)
