"""From stored answers to intervals, tables, figures and the report. Imports no torch.

For use as a library (docs/evaluation.md has an example):

    from thinktuning.analysis import accuracy, diff_samples, holm, paired_difference
"""

from importlib import import_module
from typing import Any

_HOMES = {  # imported on first use: scipy takes longer than `thinktuning --help` may
    "Difference": "intervals",
    "Estimate": "intervals",
    "SampleDiff": "sample_diff",
    "accuracy": "intervals",
    "avg_at_k": "scores",
    "diff_samples": "sample_diff",
    "holm": "intervals",
    "maj_at_k": "scores",
    "minimum_detectable_effect": "intervals",
    "paired_difference": "intervals",
    "pass_at_k": "scores",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
