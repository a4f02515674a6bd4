"""Compare the methods: `thinktuning compare --config results/tables/config.json ...`

Reads samples.jsonl and results.json of every evaluation, metrics.jsonl and provenance.json of every
run, and no model: all of it can be made again from the kept files. Writes comparison.csv, .md and
.tex (a row a method and task), subsets.csv (the same by the parts of a task), behaviours.csv,
flips.csv, cost.csv (what training and evaluation took) and the plots.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from thinktuning import plots, tables
from thinktuning.comparison import (
    SUBSET_FIGURES,
    Answers,
    Row,
    comparison_rows,
    mean_figures,
    reflection_rows,
    seed_points,
    subset_rows,
)
from thinktuning.config import CompareRun
from thinktuning.errors import StudyError
from thinktuning.files import read_jsonl, write_text_atomic
from thinktuning.reflection import (
    BEHAVIOURS,
    FLIP_FIGURES,
    JUDGED,
    behaviour_figures,
    flip_figures,
    judge_figures,
)
from thinktuning.statistics import maj_at_k, pass_at_k

COLUMNS = ("id", "sample", "correct", "verdict", "finish_reason", "num_tokens", "reflects")
TEXTS = ("text", "behaviours", "first_correct")  # of these `first_correct` may be None
COST = ("wall_seconds", "num_generated_tokens", "num_teacher_tokens", "peak_memory_mb")


def compare(run: CompareRun, results: Path, tables_dir: Path, plots_dir: Path) -> None:
    """Write every table and plot of a study.

    Raises:
        StudyError: a file is missing, broken, or does not fit the others; says which, and the mend.
    """
    answers = read_answers(run, results)
    rows = comparison_rows(run, answers)
    metrics = {
        method: [read_metrics(results / f"runs/{method}/seed{s}/metrics.jsonl") for s in seeds]
        for method, seeds in run.seeds.items()
        if seeds
    }
    baselines = {name: run.methods[name] for name in run.comparison.baselines}
    costs = cost_rows(run, results)
    reflection = reflection_rows(run, answers)
    names, judged = ["method", "label", "task"], JUDGED if run.judged else []
    parts = [*names, "subset", "seeds", *SUBSET_FIGURES]
    parts += [f"diff_{b}{end}" for b in baselines for end in ("", "_ci_low", "_ci_high")]
    texts = {
        tables_dir / "comparison.md": tables.markdown(run, rows, commits(run, results)),
        tables_dir / "comparison.csv": tables.csv_text(rows, list(rows[0])),
        tables_dir / "comparison.tex": tables.latex(run, rows),
        tables_dir / "subsets.csv": tables.csv_text(subset_rows(run, answers), parts),
        tables_dir / "behaviours.csv": tables.csv_text(reflection, [*names, *BEHAVIOURS, *judged]),
        tables_dir / "flips.csv": tables.csv_text(reflection, [*names, *FLIP_FIGURES]),
        tables_dir / "cost.csv": tables.csv_text(
            costs, ["method", "label", "stage", "seed", *COST]
        ),
        plots_dir / "accuracy.svg": plots.accuracy(rows, seed_points(answers)),
        plots_dir / "differences.svg": plots.differences(rows, baselines),
        plots_dir / "flips.svg": plots.flips(reflection),
        plots_dir / "learning_curves.svg": plots.learning_curves(metrics, run.methods),
    }
    for path, text in texts.items():
        write_text_atomic(path, text)


def evaluations(run: CompareRun, results: Path, method: str, task: str) -> list[Path]:
    """Return the directories of a method's evaluations on a task, one for each seed."""
    return [results / f"eval/{method}/seed{s}/{task}" for s in run.evaluated_seeds[method]]


def read_answers(run: CompareRun, results: Path) -> dict[tuple[str, str], Answers]:
    """Read all samples, by method and task; every method must have answered the same questions."""
    answers = {}
    for task in run.tasks:
        reference = None
        for method in run.methods:
            directories = evaluations(run, results, method, task)
            paths = [directory / "samples.jsonl" for directory in directories]
            seeds = [read_samples(path, run.judged) for path in paths]
            for path, seed in zip(paths, seeds, strict=True):
                reference = reference or (path, seed)
                check_same_questions(path, seed, *reference)
            answers[method, task] = Answers(
                ids=seeds[0].ids,
                subsets=seeds[0].subsets,
                correct_S_N_K=np.concatenate([seed.correct_S_N_K for seed in seeds]),
                reflects_S_N_K=np.concatenate([seed.reflects_S_N_K for seed in seeds]),
                figures=mean_figures([seed.figures for seed in seeds]),
                reflection=mean_figures([seed.reflection for seed in seeds]),
            )
    return answers


def read_samples(path: Path, judged: bool = False) -> Answers:
    """Read one evaluation's samples, questions in the order of their ids."""
    import pandas as pd

    rows = list(read_jsonl(path))
    frame = pd.DataFrame([{key: row.get(key) for key in COLUMNS} for row in rows])
    again = f"delete it and run `snakemake {path}`"
    absent = [column for column in COLUMNS if column not in frame or frame[column].hasnans]
    absent += [key for key in TEXTS if any(key not in row for row in rows)]
    if absent:
        raise StudyError(f"{path}: rows without {', '.join(absent)}; {again}")
    subsets = {str(row["id"]): str(row.get("subset") or "") for row in rows}
    frame["answer"] = [row.get("answer") for row in rows]
    frame = frame.sort_values(["id", "sample"], kind="stable")
    counts = frame.groupby("id").size()
    if frame.duplicated(["id", "sample"]).any() or counts.nunique() != 1 or len(counts) < 2:
        raise StudyError(
            f"{path}: {len(counts)} questions with {counts.min()} to {counts.max()} samples; every "
            f"question needs the same number, each once, and there must be two questions; {again}"
        )
    shape = (1, len(counts), int(counts.iloc[0]))
    ids = [str(identifier) for identifier in counts.index]
    correct_S_N_K = frame["correct"].to_numpy(dtype=float).reshape(shape)
    answers_N_K = frame["answer"].to_numpy(dtype=object).reshape(shape[1:])
    reflection = behaviour_figures(rows) | flip_figures(rows)
    if judged:
        reflection |= judge_figures(read_judgements(path.with_name("judgements.jsonl")))
    return Answers(
        ids=ids,
        subsets=[subsets[identifier] for identifier in ids],
        correct_S_N_K=correct_S_N_K,
        reflects_S_N_K=frame["reflects"].to_numpy(dtype=float).reshape(shape),
        reflection=reflection,
        figures={
            "pass_at_k": float(pass_at_k(correct_S_N_K[0], shape[2]).mean()),
            "maj_at_k": float(maj_at_k(answers_N_K.tolist(), correct_S_N_K[0]).mean()),
            "mean_tokens": float(frame["num_tokens"].mean()),
            "truncation_rate": float((frame["finish_reason"] == "length").mean()),
            "no_answer_rate": float((frame["verdict"] == "no_answer").mean()),
            "error_rate": float(frame["verdict"].isin(["error", "timeout"]).mean()),
        },
    )


def read_judgements(path: Path) -> list[tuple[list[str], list[str] | None]]:
    """Read what the detector and the judge found in the same answers."""
    rows = list(read_jsonl(path))
    if any(not {"lexical", "judge"} <= row.keys() for row in rows):
        raise StudyError(f"{path}: rows without lexical or judge; `snakemake -R judge` makes them")
    return [(row["lexical"], row["judge"]) for row in rows]


def check_same_questions(path: Path, found: Answers, other: Path, expected: Answers) -> None:
    """Refuse to pair answers to different questions."""
    if found.ids != expected.ids or found.correct_S_N_K.shape != expected.correct_S_N_K.shape:
        sizes = [
            f"{answers.correct_S_N_K.shape[1]} x {answers.correct_S_N_K.shape[2]}"
            for answers in (found, expected)
        ]
        raise StudyError(
            f"{path}: answers other questions than {other} ({sizes[0]} and {sizes[1]} questions x "
            "samples); they cannot be paired: `snakemake -R evaluate` asks all methods the same"
        )


def read_metrics(path: Path) -> list[Row]:
    """Read one run's metrics; a quantity that no row has is not drawn."""
    rows = list(read_jsonl(path))
    if not rows or any("rollout_batch" not in row for row in rows):
        raise StudyError(f"{path}: rows without rollout_batch, or no rows; train this run again")
    return rows


def read_json(path: Path, keys: Iterable[str]) -> Row:
    """Read a JSON object that must have some keys."""
    try:
        values: Row = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be read ({error.strerror}); `snakemake {path}` writes it"
        ) from None
    except ValueError as error:
        raise StudyError(f"{path}: is not valid JSON ({error}); delete it and run again") from None
    if absent := [key for key in keys if key not in values]:
        raise StudyError(f"{path}: has no {', '.join(absent)}; delete it and run again")
    return values


def commits(run: CompareRun, results: Path) -> list[str]:
    """Return the commits whose code made the answers; more than one is worth a look."""
    found = {
        read_json(directory / "results.json", ["commit"])["commit"]
        for method in run.methods
        for task in run.tasks
        for directory in evaluations(run, results, method, task)
    }
    return sorted(commit or "unknown" for commit in found)


def cost_rows(run: CompareRun, results: Path) -> list[Row]:
    """Return what each seed's training and evaluations took, and the means (`seed` is `mean`)."""
    rows: list[Row] = []
    for method, label in run.methods.items():
        seeds = run.seeds[method]
        trained = [results / f"runs/{method}/seed{seed}/provenance.json" for seed in seeds]
        tasks = [evaluations(run, results, method, task) for task in run.tasks]
        stages = {
            "train": [read_cost(path) for path in trained],
            "evaluate": [evaluation_cost(of_seed) for of_seed in zip(*tasks, strict=True)],
        }
        for stage, costs in stages.items():
            names = {"method": method, "label": label, "stage": stage}
            # a method without training has no seed: its one evaluation is the mean
            for seed, cost in zip(seeds, costs if seeds else [], strict=True):
                rows.append(names | {"seed": seed} | cost)
            if costs:
                rows.append(names | {"seed": "mean"} | mean_figures(costs))
    return rows


def read_cost(path: Path) -> dict[str, float]:
    """Read what one training run took."""
    made = read_json(path, COST)
    return {key: made[key] for key in COST}


def evaluation_cost(directories: Sequence[Path]) -> dict[str, float]:
    """Return what the evaluations of one seed took together; their jobs' largest memory."""
    keys = ("wall_seconds", "peak_memory_mb", "n", "k", "mean_tokens")
    made = [read_json(directory / "results.json", keys) for directory in directories]
    return {
        "wall_seconds": sum(row["wall_seconds"] for row in made),
        "num_generated_tokens": sum(
            round(row["n"] * row["k"] * row["mean_tokens"]) for row in made
        ),
        "num_teacher_tokens": 0,
        "peak_memory_mb": max(row["peak_memory_mb"] for row in made),
    }
