"""What reflection looks like and what it does, in figures of one evaluation's answers.

behaviours.csv: how many answers show each behaviour, how often a behaviour occurs in 1,000 tokens,
what a judge says of the same answers. flips.csv: from an answer's first committed result (its first
box) to its last, which alone is graded.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from thinktuning.behaviours import FLIPS, PATTERNS, PROCESSES, count

Sample = Mapping[str, Any]
Judgement = Sequence[str] | None  # the behaviours that the judge names; None: no usable reply

BEHAVIOURS = ["mean_words", "mean_tokens"]
BEHAVIOURS += [f"{name}_rate" for name in PATTERNS]
BEHAVIOURS += [f"{name}_per_1000_tokens" for name in (*PATTERNS, *PROCESSES)]
JUDGED = ["num_judged", "judge_missing_rate", "judge_reflection_rate", "kappa_reflection"]
JUDGED += [f"{figure}_{name}" for name in PATTERNS for figure in ("judge_rate", "kappa")]
FLIP_FIGURES = ["committed_rate", *FLIPS.values()]


def behaviour_figures(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the lexical detector's figures, those of `BEHAVIOURS`."""
    occurrences: Counter[str] = Counter()
    for sample in samples:
        occurrences.update(count(sample["text"]))
    num_tokens = sum(sample["num_tokens"] for sample in samples)
    found = Counter(name for sample in samples for name in set(sample["behaviours"]))
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
    """Return the share of answers that commit to a result, and of these what became of it.

    An answer commits if it has a box and ended by itself; `first_correct` is None for the others.
    Shares of no answer are NaN.
    """
    committed = [sample for sample in samples if sample["first_correct"] is not None]
    flips = Counter(FLIPS[bool(s["first_correct"]), bool(s["correct"])] for s in committed)
    total = len(committed)
    shares = {name: flips[name] / total if total else math.nan for name in FLIPS.values()}
    return {"committed_rate": total / len(samples)} | shares


def judge_figures(judged: Sequence[tuple[Sequence[str], Judgement]]) -> dict[str, float]:
    """Return what the judge found and how far it agrees with the detector, those of `JUDGED`.

    Cohen's kappa is over the answers that both judged; it is NaN where both always say the same
    one thing, since chance alone would agree as well.

    Args:
        judged: of each answer the behaviours that the detector found, and the judge's.
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
    return sum(verdicts) / len(verdicts) if verdicts else math.nan


def kappa(pairs: Sequence[tuple[bool, bool]]) -> float:
    """Return Cohen's kappa of two raters, NaN where it is not defined."""
    from statsmodels.stats.inter_rater import cohens_kappa

    counts = Counter(pairs)
    table = [[counts[a, b] for b in (False, True)] for a in (False, True)]
    if len({a for a, _ in pairs} | {b for _, b in pairs}) < 2:
        return math.nan
    return float(cohens_kappa(table, return_results=False))
