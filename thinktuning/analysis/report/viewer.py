"""The rollout viewer's data: one column per field, each text stored once, within a size limit.

Of a spliced text only the teacher's part is stored, which follows the student's text. If there are
more rollouts than fit, the page holds a random sample of each run, drawn with a fixed seed.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from thinktuning.algorithms.rollout import RolloutRecord, teachers_part

Run = tuple[str, int]  # method, seed

LONGEST = 20_000  # characters of one text
COPIED = ("step", "student_length", "completion_length")
FLAGS = ("asked", "parsed", "taught")
TEXTS = ("question", "student_text", "teacher_reply")
FIGURES = ("student_reward", "reward", "advantage")
COLUMNS = ("run", *COPIED, *FLAGS, *TEXTS, *FIGURES, "tail", "whole")


def viewer_json(
    runs: Mapping[Run, Sequence[RolloutRecord]], labels: Mapping[str, str], size: int
) -> str:
    """Return the viewer's data as JSON that is safe inside a script element.

    Args:
        runs: (method, seed) -> its rollouts, in the order of training.
        labels: method -> label.
        size: maximum bytes of JSON; rollouts are dropped to fit.
    """
    num_shown = max(map(len, runs.values()), default=0)
    while True:
        drawn = {run: draw(rows, num_shown) for run, rows in runs.items()}
        text = script_json(encode(drawn, labels, {run: len(rows) for run, rows in runs.items()}))
        length = len(text.encode("utf-8", "backslashreplace"))
        if length <= size or num_shown == 0:
            return text
        num_shown = min(num_shown - 1, int(num_shown * size / length))


def draw(rows: Sequence[RolloutRecord], size: int) -> list[RolloutRecord]:
    """Return a random sample of `size` rows in their order, or all if there are fewer."""
    if len(rows) <= size:
        return list(rows)
    return [rows[i] for i in sorted(random.Random(0).sample(range(len(rows)), size))]


def encode(
    runs: Mapping[Run, Sequence[RolloutRecord]],
    labels: Mapping[str, str],
    totals: Mapping[Run, int],
) -> dict[str, Any]:
    """Return `runs`, `texts` and `columns`, where a text is its index in `texts`, -1 for none."""
    places: dict[str, int] = {}

    def place(text: str | None) -> int:
        return -1 if text is None else places.setdefault(shortened(text), len(places))

    records = []
    for number, rows in enumerate(runs.values()):
        for row in rows:
            whole, tail = teachers_part(row["student_text"], row["text"])
            record = {"run": number} | {key: row[key] for key in COPIED}
            record |= {key: int(bool(row[key])) for key in FLAGS}
            record |= {key: place(row[key]) for key in TEXTS}
            record |= {key: rounded(row[key]) for key in FIGURES}
            records.append(record | {"tail": place(tail), "whole": int(whole)})
    return {
        "runs": [
            {
                "method": method,
                "label": labels[method],
                "seed": seed,
                "num_rollouts": totals[method, seed],
                "num_shown": len(rows),
            }
            for (method, seed), rows in runs.items()
        ],
        "texts": list(places),
        "columns": {key: [record[key] for record in records] for key in COLUMNS},
    }


def shortened(text: str) -> str:
    """Truncate a very long text, and say so at its end."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\n[... {len(text) - LONGEST:,} more characters, in rollouts.jsonl]"


def rounded(value: float | None) -> float | None:
    """Round a figure to what is shown; None for None, NaN and infinity, which JSON lacks."""
    return round(value, 4) if value is not None and math.isfinite(value) else None


def script_json(value: Any) -> str:
    """Return JSON without characters that could open or close an element or a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
