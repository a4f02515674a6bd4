"""Numbers of the comparison as text, in percent: values, intervals, p-values, seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from thinktuning.analysis.comparison import ComparisonRow

SPLIT = {"": "accuracy", "reflection_": "reflection"}  # columns' prefix -> what seeds split in


def estimate_text(
    row: Mapping[str, Any], key: str, prefix: str | None = None, sign: str = ""
) -> str:
    """Format a share or a difference of a row, with its interval or its seeds' values.

    Args:
        row: of comparison.csv or sweep.csv, also as it was read from there.
        key: of the value.
        prefix: of the columns with interval and seeds; None: `KEY_`.
        sign: `+` for a difference.
    """
    prefix = f"{key}_" if prefix is None else prefix
    ends = (row[f"{prefix}ci_low"], row[f"{prefix}ci_high"])
    return interval_text(row[key], *ends, seed_values(row, prefix), sign)


def seed_values(row: Mapping[str, Any], prefix: str) -> Sequence[float]:
    """Return the values of a row's seeds, none for an untrained method."""
    seeds = row.get(f"{prefix}seed_values") or ()
    if isinstance(seeds, tuple):
        return seeds
    return [float(value) for value in str(seeds).split()]  # a cell of a CSV file


def interval_text(
    value: float,
    low: float | None,
    high: float | None,
    seeds: Sequence[float] = (),
    sign: str = "",
) -> str:
    """Format a share and its interval in percent; without an interval, the seeds' values."""
    text = f"{100 * value:{sign}.1f}"
    if low is not None and high is not None:
        return f"{text} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"
    return f"{text} (seeds {', '.join(f'{100 * seed:{sign}.1f}' for seed in seeds)})"


def confidence_text(confidence: float) -> str:
    """Format the confidence of intervals in percent, with the decimals that it has."""
    return f"{100 * confidence:.10g}%"


def p_value_text(p: float | None) -> str:
    """Format a p-value to three digits; "-" if there is none."""
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def detectable_text(row: ComparisonRow, baseline: str) -> str:
    """Format the minimum detectable effect in points, to two digits if it is below 0.1."""
    effect = row[f"mde_{baseline}"]
    if effect is None:
        return "-" if row[f"diff_{baseline}_p"] is None else "none"
    return f"{100 * effect:.1f}" if effect >= 0.001 else f"{100 * effect:.2g}"


def seeds_above_text(row: Mapping[str, Any], prefix: str) -> str:
    """Format how many seeds succeed, with the exact interval; "" if no method's seeds split.

    Args:
        row: of comparison.csv or sweep.csv, also as it was read from there.
        prefix: of the columns, a key of `SPLIT`.
    """
    above = row.get(f"{prefix}seeds_above")
    if above is None:
        return ""
    limit, low, high = (
        100 * row[f"{prefix}seeds_{name}"]
        for name in ("threshold", "above_ci_low", "above_ci_high")
    )
    num_seeds = len(seed_values(row, prefix))
    return f"{above:.0f} of {num_seeds} seeds above {limit:.0f}% [{low:.0f}, {high:.0f}]"


def successes_text(rows: Sequence[ComparisonRow]) -> str:
    """Say how many seeds succeed, for a task on which those of some method split."""
    lines = [
        f"- {row['label']}, {what}: {found}."
        for prefix, what in SPLIT.items()
        for row in rows
        if (found := seeds_above_text(row, prefix))
    ]
    if not lines:
        return ""
    return "\n".join(
        [
            "**Seeds succeed or fail here**, so an interval around their mean does not hold. How"
            " many succeed, with the exact interval of that share:\n",
            *lines,
        ]
    )
