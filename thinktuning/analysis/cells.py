"""Numbers of the comparison as text, in percent: values, intervals, p-values, seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from thinktuning.analysis.comparison import ComparisonRow


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
    seeds = row.get(f"{prefix}seed_values") or ()
    if not isinstance(seeds, tuple):  # a cell of a CSV file
        seeds = [float(value) for value in str(seeds).split()]
    return interval_text(row[key], row[f"{prefix}ci_low"], row[f"{prefix}ci_high"], seeds, sign)


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


def successes_text(rows: Sequence[ComparisonRow]) -> str:
    """Say how many seeds succeed, for a task on which those of some method split."""
    lines = []
    for prefix, what in (("", "accuracy"), ("reflection_", "reflection")):
        for row in (row for row in rows if row[f"{prefix}seeds_above"] is not None):
            above, limit = row[f"{prefix}seeds_above"], row[f"{prefix}seeds_threshold"]
            low, high = (row[f"{prefix}seeds_above_ci_{end}"] for end in ("low", "high"))
            values = row[f"{prefix}seed_values"]
            lines.append(
                f"- {row['label']}, {what}: {above} of {len(values)} seeds above"
                f" {100 * limit:.0f}% [{100 * low:.0f}, {100 * high:.0f}]."
            )
    if not lines:
        return ""
    return "\n".join(
        [
            "**Seeds succeed or fail here**, so an interval around their mean does not hold. How"
            " many succeed, with the exact interval of that share:\n",
            *lines,
        ]
    )
