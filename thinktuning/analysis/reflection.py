"""Reflective behaviors and answer changes in the answers of one evaluation.

behaviors.csv: the share of answers with each behavior, occurrences per 1,000 tokens, and a judge's
opinion of the same answers. flips.csv: answer changes, from the first committed answer (the first
box) to the last one, which is graded.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from thinktuning.grading.behaviors import FLIPS, PATTERNS, PROCESSES, count

Sample = Mapping[str, Any]
Judgment = Sequence[str] | None  # behaviors that the judge names; None: missing

BEHAVIORS = ["mean_words", "mean_tokens"]
BEHAVIORS += [f"{name}_rate" for name in PATTERNS]
BEHAVIORS += [f"{name}_per_1000_tokens" for name in (*PATTERNS, *PROCESSES)]
JUDGED = ["num_judged", "judge_missing_rate", "judge_reflection_rate", "kappa_reflection"]
JUDGED += [f"{figure}_{name}" for name in PATTERNS for figure in ("judge_rate", "kappa")]
FLIP_FIGURES = ["committed_rate", *FLIPS.values()]


def behavior_figures(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the lexical detector's columns, those of `BEHAVIORS`."""
    occurrences: Counter[str] = Counter()
    for sample in samples:
        occurrences.update(count(sample["text"]))
    num_tokens = sum(sample["num_tokens"] for sample in samples)
    found = Counter(name for sample in samples for name in set(sample["behaviors"]))
    figures = {
        "mean_words": sum(len(sample["text"].split()) for sample in samples) / len(samples),
        "mean_tokens": num_tokens / len(samples),
    }
    figures |= {f"{name}_rate": found[name] / len(samples) for name in PATTERNS}
    return figures | {
        f"{name}_per_1000_tokens": 1000 * occurrences[name] / max(num_tokens, 1)
        for name in (*PATTERNS, *PROCESSES)
    }


def flip_figures(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the share of committed answers, and how these change from first to last box.

    An answer is committed if it has a box and ended by itself; for others `first_correct` is None.
    Without committed answers the shares of changes are NaN.
    """
    committed = [sample for sample in samples if sample["first_correct"] is not None]
    flips = Counter(FLIPS[bool(s["first_correct"]), bool(s["correct"])] for s in committed)
    total = len(committed)
    shares = {name: flips[name] / total if total else math.nan for name in FLIPS.values()}
    return {"committed_rate": total / len(samples)} | shares


def judge_figures(judged: Sequence[tuple[Sequence[str], Judgment]]) -> dict[str, float]:
    """Return the judge's rates and its agreement with the detector, the columns `JUDGED`.

    Cohen's kappa is over the answers that the judge labeled. It is NaN where both raters always
    give the same label, since chance would agree as well.

    Args:
        judged: for each answer, the detector's behaviors and the judge's.
    """
    both = [(set(lexical), set(named)) for lexical, named in judged if named is not None]
    figures = {
        "num_judged": float(len(both)),
        "judge_missing_rate": 1 - len(both) / len(judged) if judged else math.nan,
        "judge_reflection_rate": mean_or_nan([bool(named) for _, named in both]),
        "kappa_reflection": kappa([(bool(lexical), bool(named)) for lexical, named in both]),
    }
    for name in PATTERNS:
        pairs = [(name in lexical, name in named) for lexical, named in both]
        figures[f"judge_rate_{name}"] = mean_or_nan([named for _, named in pairs])
        figures[f"kappa_{name}"] = kappa(pairs)
    return figures


def mean_or_nan(verdicts: Sequence[bool]) -> float:
    """Return the share of true verdicts, NaN if there are none."""
    return sum(verdicts) / len(verdicts) if verdicts else math.nan


def kappa(pairs: Sequence[tuple[bool, bool]]) -> float:
    """Return Cohen's kappa of two raters, NaN where it is undefined."""
    from statsmodels.stats.inter_rater import cohens_kappa

    counts = Counter(pairs)
    table = [[counts[a, b] for b in (False, True)] for a in (False, True)]
    if len({a for a, _ in pairs} | {b for _, b in pairs}) < 2:
        return math.nan
    return float(cohens_kappa(table, return_results=False))
