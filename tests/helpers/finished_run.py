"""What must be equal in two runs of the same training job."""

from pathlib import Path
from typing import Any

from thinktuning.io.files import read_jsonl

VOLATILE = ("time", "step_time", "num_tokens", "epoch")  # prefixes of metrics that may differ


def untimed(run: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's metrics.jsonl without times and counters."""
    return [
        {key: value for key, value in row.items() if not key.startswith(VOLATILE)}
        for row in read_jsonl(run / "metrics.jsonl")
    ]
