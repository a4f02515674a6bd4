"""What each training run was: how much of it was taught, and how often it had something to learn.

A run that nobody taught, or whose batches mostly gave no signal, is not what its name says. Its
method is therefore marked in every table and figure and on the page: `marked` extends its label.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from thinktuning.analysis.comparison import mean_figures
from thinktuning.analysis.results import JsonObject, read_metrics, runs
from thinktuning.analysis.tables import table
from thinktuning.study.jobs import CompareJob

Metrics = Mapping[str, Mapping[int, Sequence[JsonObject]]]  # method -> seed -> metrics.jsonl
Figures = dict[str, float]
Runs = Mapping[str, Mapping[int, Figures]]  # trained method -> seed -> its columns of training.csv

NEEDED = (
    *("guidance_rate", "num_rollouts", "num_asked", "num_unanswered", "num_unparsed"),
    *("num_taught", "reflection_rate"),
)
COUNTS = (
    *("num_batches", "num_guided", "num_no_signal", "num_rollouts", "num_cut_off"),
    *("num_asked", "num_answered", "num_parsed", "num_taught"),
)
RATES = {  # column -> the two that it divides
    "parsed_rate": ("num_parsed", "num_asked"),
    "no_signal_rate": ("num_no_signal", "num_batches"),
    "cut_off_rate": ("num_cut_off", "num_rollouts"),
}
TRAINING = (*COUNTS, *RATES, "last_reflection_rate")
LAST = 5  # batches that `last_reflection_rate` averages
SILENT = 0.5  # a run is marked from this share of batches without a signal on
NOTES = {
    "asked": "rollouts shown to the teacher.",
    "parsed": "the share of them whose reply came, complete and in the required form.",
    "taught": "rollouts trained on with the teacher's feedback.",
    "no signal": "the share of rollout batches with nothing to learn from: in every group all"
    " rewards were equal, or loss and gradient were 0.",
    "cut off": "the share of the student's own completions that reached the token limit.",
    "(taught 0 of N asked)": "this method is not what its name says: in a whole run nobody was"
    " taught, although it has a teacher. Seeds are named if it was not all of them.",
    "(no signal in N of M batches)": "at least half of a run's batches gave no signal.",
}
BUDGET_NOTES = {
    "(budget not used: N%)": "training.max_steps ended a run before its token budget, so that it is"
    " no comparison at matched tokens.",
}


def read_training(job: CompareJob, results: Path) -> Metrics:
    """Read the metrics of every run.

    Raises:
        StudyError: a file is missing or broken.
    """
    directories = runs(job, results)
    return {
        method: {
            seed: read_metrics(directories[method, seed] / "metrics.jsonl", NEEDED)
            for seed in seeds
        }
        for method, seeds in job.seeds.items()
        if seeds
    }


def training_runs(metrics: Metrics) -> Runs:
    """Return the figures of every run."""
    return {
        method: {seed: run_figures(rows) for seed, rows in seeds.items()}
        for method, seeds in metrics.items()
    }


def run_figures(rows: Sequence[JsonObject]) -> Figures:
    """Return one run's columns of training.csv, from its metrics.

    num_guided: batches whose guidance rate is above 0
    num_no_signal: batches that gave nothing to learn from; NaN in metrics of an earlier version
    num_cut_off: the student's own completions that the token limit cut off; NaN likewise
    num_answered: rollouts asked about whose reply was complete
    budget_used: the used share of the token budget; NaN without one
    """

    def total(key: str) -> float:
        return sum(float(row.get(key, math.nan)) for row in rows)

    asked = total("num_asked")
    counts = {
        "num_batches": len(rows),
        "num_guided": sum(row["guidance_rate"] > 0 for row in rows),
        "num_no_signal": total("no_signal"),
        "num_rollouts": total("num_rollouts"),
        "num_cut_off": total("num_cut_off"),
        "num_asked": asked,
        "num_answered": asked - total("num_unanswered"),
        "num_parsed": asked - total("num_unparsed"),
        "num_taught": total("num_taught"),
    }
    reflection = fmean(row["reflection_rate"] for row in rows[-LAST:])
    used = float(rows[-1].get("budget_used", math.nan))
    return counts | rates(counts) | {"last_reflection_rate": reflection, "budget_used": used}


def rates(counts: Mapping[str, float]) -> Figures:
    """Return the rates of some counts; NaN where there is nothing to divide by."""
    return {
        name: counts[part] / counts[whole] if counts[whole] else math.nan
        for name, (part, whole) in RATES.items()
    }


def all_seeds(seeds: Mapping[int, Figures]) -> Figures:
    """Return a method's counts, summed over its seeds, and their rates."""
    runs = list(seeds.values())
    counts = {key: sum(run[key] for run in runs) for key in COUNTS}
    return counts | rates(counts)


def training_rows(job: CompareJob, runs: Runs) -> list[JsonObject]:
    """Return the rows of training.csv: each seed of a trained method, then their mean."""
    rows: list[JsonObject] = []
    for method, seeds in runs.items():
        names = {"method": method, "label": job.methods[method]}
        means = mean_figures(list(seeds.values()))
        for seed, figures in [*seeds.items(), ("mean", means)]:
            rows.append(names | {"seed": seed} | {key: whole(figures[key]) for key in TRAINING})
    return rows


def whole(value: float) -> float:
    """Return a whole number as an int: TRL logs counts as floats."""
    return int(value) if float(value).is_integer() else value


def training_section(job: CompareJob, runs: Runs) -> str:
    """Return the section of comparison.md on training, over all seeds; "" without any run."""
    if not runs:
        return ""
    head = ["method", "batches", "asked", "parsed, %", "taught", "no signal, %", "cut off, %"]
    body = []
    for method, seeds in runs.items():
        total = all_seeds(seeds)
        asked, taught = (f"{total[key]:.0f}" for key in ("num_asked", "num_taught"))
        parsed = share_text(total["parsed_rate"])
        guided = [asked, parsed, taught] if total["num_guided"] else ["-"] * 3
        shares = [share_text(total[key]) for key in ("no_signal_rate", "cut_off_rate")]
        body.append([job.methods[method], f"{total['num_batches']:.0f}", *guided, *shares])
    with_budget = any(not math.isnan(r["budget_used"]) for s in runs.values() for r in s.values())
    told = NOTES | (BUDGET_NOTES if with_budget else {})
    notes = " ".join(f"**{term}**: {meaning}" for term, meaning in told.items())
    return f"## Training (all seeds together)\n\n{table(head, body)}\n\n{notes}"


def share_text(share: float) -> str:
    """Format a share in percent, "" for NaN."""
    return "" if math.isnan(share) else f"{100 * share:.1f}"


def marks(seeds: Mapping[int, Figures], unguided: bool = False) -> list[str]:
    """Return what is wrong with a method's runs.

    - In some seed nothing was taught, although the schedule guides or, if `unguided`, should.
    - In some seed at least half of the batches gave no signal.
    - In some seed `max_steps` ended the training before its token budget.
    """
    found = []
    guides = {s: run["num_guided"] or unguided for s, run in seeds.items()}
    untaught = [s for s, run in seeds.items() if guides[s] and not run["num_taught"]]
    if untaught:
        asked = sum(seeds[seed]["num_asked"] for seed in untaught)
        found.append(f"taught 0 of {asked:.0f} asked{which(untaught, seeds)}")
    silent = [seed for seed, run in seeds.items() if run["no_signal_rate"] >= SILENT]
    if silent:
        batches, without = (
            sum(seeds[seed][key] for seed in silent) for key in ("num_batches", "num_no_signal")
        )
        found.append(f"no signal in {without:.0f} of {batches:.0f} batches{which(silent, seeds)}")
    short = [seed for seed, run in seeds.items() if run["budget_used"] < 1]
    if short:
        used = math.floor(100 * min(seeds[seed]["budget_used"] for seed in short))
        found.append(f"budget not used: {used}%{which(short, seeds)}")
    return found


def which(named: Sequence[int], seeds: Iterable[int]) -> str:
    """Name the seeds, unless they are all seeds."""
    if set(named) == set(seeds):
        return ""
    return f" in seed{'s' * (len(named) > 1)} {', '.join(map(str, named))}"


def marked(job: CompareJob, runs: Runs) -> CompareJob:
    """Return the job with each method's marks in its label; without marks it is unchanged."""
    found = {name: marks(runs.get(name, {}), name in job.unguided) for name in job.methods}
    labels = {
        method: f"{label} ({'; '.join(found[method])})" if found[method] else label
        for method, label in job.methods.items()
    }
    return job.model_copy(update={"methods": labels})
