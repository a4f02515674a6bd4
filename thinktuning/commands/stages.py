"""The subcommands that the workflow calls: each has the name of its rule and its module."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from thinktuning.commands.settings import DECIDED_IN_WARMUP, check_environment
from thinktuning.io.errors import StudyError
from thinktuning.io.modules import load_modules
from thinktuning.study.jobs import (
    CompareJob,
    DataJob,
    EvaluateJob,
    ExemplarsJob,
    JudgeJob,
    ModelJob,
    SweepJob,
    TrainJob,
    WarmupJob,
    read_config,
)

if TYPE_CHECKING:
    from thinktuning.commands.cli import Subcommands

CONFIG = "the stage's resolved configuration (JSON)"


def add_stages(commands: "Subcommands") -> None:
    """Add the stages' subcommands."""
    add_training(commands)
    add_evaluation(commands)
    comparison = commands.add(
        compare,
        "Write a study's tables and plots, or compare two sample files.",
        required=False,
        config=CONFIG,
        results="directory of the study's results",
        tables="directory for comparison.{csv,md,tex} and the other tables",
        plots="directory for the SVG plots",
    )
    comparison.add_argument(
        "samples",
        nargs="*",
        type=Path,
        metavar="SAMPLES",
        help="two samples.jsonl, or two files of lm-eval's --log_samples, of one task instead of"
        " these options: prints their difference",
    )
    comparison.add_argument("--metric", help="of lm-eval's metrics, the one to compare")
    comparison.add_argument("--filter", help="of lm-eval's filters, the one to compare")
    comparison.add_argument(
        "--different-prompts",
        action="store_true",
        help="compare lm-eval's files although their prompts differ, as under two chat templates",
    )
    commands.add(
        report,
        "Write the report: tables, plots and a rollout viewer on one page.",
        config=CONFIG,
        results="directory of the study's results, with its tables and plots",
        output="the HTML file to write",
    )
    commands.add(
        sweep,
        "Write what the points of a sweep show together: tables, figure and page.",
        config=CONFIG,
        results="directory of the sweep's results, with a directory per point",
        tables="directory for sweep.csv, sweep.md and sweep_fit.csv",
        plots="directory for the SVG plot",
        output="the HTML file to write",
    )


def add_training(commands: "Subcommands") -> None:
    """Add the stages that prepare data and train models."""
    commands.add(
        data,
        "Prepare the training and evaluation questions, decontaminated.",
        config=CONFIG,
        output="directory for train.jsonl, eval/TASK.jsonl and decontamination.json",
    )
    commands.add(
        exemplars,
        "Check that no teacher is shown evaluation questions.",
        config=CONFIG,
        data="directory of the prepared questions",
        output="the file to write (JSON): how many exemplars were checked",
    )
    commands.add(
        model,
        "Materialize a model as a Hugging Face directory.",
        config=CONFIG,
        data="directory of the prepared questions, which the toy model's documents exclude",
        output="the model directory to write",
    )
    commands.add(
        warmup,
        "Warm the base model up on worked answers, or on the toy model's documents.",
        config=CONFIG,
        model="directory of the model to warm up",
        data="directory of the prepared questions: those to answer, and those that the toy model's"
        " documents exclude",
        output="the model directory to write",
    )
    training = commands.add(
        train,
        "Train one method with one seed; resumes an interrupted run.",
        config=CONFIG,
        model="directory of the base model",
        data="prepared training questions (JSONL)",
        output="directory for model/, metrics.jsonl, rollouts.jsonl and provenance.json",
    )
    training.add_argument(
        "--teacher",
        type=Path,
        metavar="PATH",
        help="directory of the teacher's model, for teacher.backend: model",
    )
    training.add_argument(
        "--budget-runs",
        nargs="+",
        type=Path,
        default=[],
        metavar="PATH",
        help="provenance.json of each run that training.budget refers to",
    )


def add_evaluation(commands: "Subcommands") -> None:
    """Add the stages that evaluate models and judge their answers."""
    evaluation = commands.add(
        evaluate,
        "Evaluate one model with lm-eval, on one or several tasks.",
        "The model is loaded once. Each task is asked as if it were alone, and has its results when"
        " it\nis done. Results that exist already, of the same configuration, model and questions,"
        " stay: delete\nthem to evaluate again. So an interrupted command can be repeated.",
        model="directory of the model",
    )
    several = {
        "config": f"{CONFIG}; one per task",
        "data": "prepared questions (JSONL) of each task, in the same order",
        "output": "directory for results.json and samples.jsonl of each task, in the same order",
    }
    for name, meaning in several.items():
        evaluation.add_argument(
            f"--{name}", nargs="+", required=True, type=Path, metavar="PATH", help=meaning
        )
    commands.add(
        judge,
        "Have a model label the reflective behaviors in answers.",
        config=CONFIG,
        samples="the answers (samples.jsonl)",
        data="prepared questions of the task (JSONL)",
        output="the file of judgments to write (JSONL)",
    ).add_argument(
        "--model",
        type=Path,
        metavar="PATH",
        help="directory of the judge's model, for judge.backend: model",
    )


def data(arguments: argparse.Namespace) -> None:
    """Prepare the questions."""
    job = read_config(arguments.config, DataJob)
    from thinktuning.commands.data import prepare

    prepare(job, arguments.output)


def exemplars(arguments: argparse.Namespace) -> None:
    """Check the teachers' exemplars."""
    job = read_config(arguments.config, ExemplarsJob)
    from thinktuning.commands.data import exemplars

    exemplars(job, arguments.data, arguments.output)


def model(arguments: argparse.Namespace) -> None:
    """Materialize a model."""
    job = read_config(arguments.config, ModelJob)
    load_modules("transformers.modeling_utils", "thinktuning.commands.model")
    from thinktuning.commands.model import materialize

    materialize(job.model, arguments.data, arguments.output)


def warmup(arguments: argparse.Namespace) -> None:
    """Warm up the base model."""
    check_environment(os.environ, DECIDED_IN_WARMUP)
    job = read_config(arguments.config, WarmupJob)
    load_modules("trl.trainer.sft_trainer", "thinktuning.commands.warmup")
    from thinktuning.commands.warmup import warm_up

    warm_up(job, arguments.model, arguments.data, arguments.output)


def train(arguments: argparse.Namespace) -> None:
    """Train one method with one seed."""
    check_environment(os.environ)
    job = read_config(arguments.config, TrainJob)
    if not job.train:
        raise StudyError(f"--config: method {job.method} has train: false; it is not trained")
    load_modules("thinktuning.trainer.trainer", "thinktuning.commands.train")
    from thinktuning.commands.train import train

    given = (arguments.model, arguments.data, arguments.output, arguments.teacher)
    train(job, *given, arguments.budget_runs)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # All outputs are in place. Threads left by DeepSpeed can abort an interpreter that shuts
        # down: "terminate called without an active exception".
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate one model."""
    from thinktuning.commands.evaluate import Evaluation, evaluate_tasks

    given = [arguments.config, arguments.data, arguments.output]
    if len({len(paths) for paths in given}) > 1:
        raise StudyError(
            "evaluate takes as many --data and --output as --config: one of each per task; found"
            f" {len(arguments.config)} --config, {len(arguments.data)} --data and"
            f" {len(arguments.output)} --output"
        )
    evaluations = [
        Evaluation(read_config(config, EvaluateJob), questions, output)
        for config, questions, output in zip(*given, strict=True)
    ]
    evaluate_tasks(evaluations, arguments.model)


def judge(arguments: argparse.Namespace) -> None:
    """Have a model judge answers."""
    job = read_config(arguments.config, JudgeJob)
    if job.judge.backend == "model":
        load_modules("transformers.modeling_utils", "thinktuning.teachers.local")
    from thinktuning.commands.judge import judge

    judge(job, arguments.samples, arguments.data, arguments.output, arguments.model)


def compare(arguments: argparse.Namespace) -> None:
    """Compare the methods of a study, or two sample files."""
    paths = [arguments.config, arguments.results, arguments.tables, arguments.plots]
    if len(arguments.samples) == 2 and not any(paths):
        from thinktuning.analysis.sample_diff import compare_samples

        a, b = arguments.samples
        compare_samples(a, b, arguments.metric, arguments.filter, arguments.different_prompts)
    elif all(paths) and not arguments.samples:
        job = read_config(arguments.config, CompareJob)
        load_modules("thinktuning.commands.compare")
        from thinktuning.commands.compare import compare

        compare(job, *paths[1:])
    else:
        raise StudyError(
            "compare takes two sample files, or all of --config, --results, --tables and --plots"
        )


def report(arguments: argparse.Namespace) -> None:
    """Write the study's report."""
    job = read_config(arguments.config, CompareJob)
    load_modules("thinktuning.commands.report")
    from thinktuning.commands.report import report

    report(job, arguments.results, arguments.output)


def sweep(arguments: argparse.Namespace) -> None:
    """Put a sweep's points together."""
    job = read_config(arguments.config, SweepJob)
    load_modules("thinktuning.commands.sweep")
    from thinktuning.commands.sweep import sweep

    sweep(job, arguments.results, arguments.tables, arguments.plots, arguments.output)
