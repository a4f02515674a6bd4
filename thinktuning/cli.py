"""The command line: one subcommand a stage. Heavy imports wait until the arguments are parsed."""

import argparse
import os
import sys
from pathlib import Path

from thinktuning import prompts
from thinktuning.config import (
    CompareRun,
    DataRun,
    EvalRun,
    JudgeRun,
    ModelRun,
    Run,
    WarmupRun,
    load_study,
    read_config,
)
from thinktuning.errors import StudyError
from thinktuning.files import disk_is_full

DESCRIPTION = """\
Find out whether a language model can be taught to reflect (ThinkTuning, arXiv 2508.07616).

A study file describes data, base model, methods and evaluation; the workflow runs it:

    thinktuning validate config.yaml            check a study without running it
    thinktuning plan config.yaml                what it will take
    thinktuning doctor STUDY                    check that this machine can run it
    snakemake --cores all                       run the default study, config.yaml
    snakemake --cores all --configfile STUDY    run another one
    snakemake --cores all -R evaluate           run one stage again

    thinktuning show results/runs/METHOD/seed0  look at rollouts, of a run in progress too
    thinktuning compare A/samples.jsonl B/samples.jsonl

The other subcommands are the workflow's stages. Each reads a resolved configuration that the
workflow wrote, e.g. results/runs/grpo/seed0/config.json, and can be run by hand as well.
"""

DOCTOR = """\
Looks at Python, the packages and their versions, CUDA and the GPUs, vLLM, disk, the hub's token and
cache, and says what to do about each finding. With a study also at what that study needs: GPUs,
memory, its models and questions, its servers.

    ok        in order
    warning   may stop the study, or must be done before it, e.g. starting a server
    problem   will stop the study; the exit code is then 1

GPUs differ between nodes: on a cluster run it where the jobs run, e.g.

    srun --gpus=2 thinktuning doctor studies/mine.yaml     # as many as a job of the study has
"""


def validate(arguments: argparse.Namespace) -> None:
    for path in arguments.study:
        study = load_study(path)
        for method in study.trained():
            run = study.run_config(method, study.seeds[0])
            if run.guidance.enabled:
                prompts.load(run.teacher.prompt).select(run.teacher.behaviours)
        if study.judge:
            prompts.load(study.judge.prompt, "judge.prompt")
        runs = len(study.trained()) * len(study.seeds)
        evaluated = sum(len(study.evaluated_seeds(method)) for method in study.methods)
        print(
            f"{path}: valid. Study {study.name!r}: {len(study.methods)} methods, {runs} training"
            f" runs, {evaluated * len(study.tasks)} evaluations."
        )


def plan(arguments: argparse.Namespace) -> None:
    from thinktuning.costs import GPUS
    from thinktuning.models import PathModel
    from thinktuning.plan import show

    if arguments.gpu not in GPUS:
        raise StudyError(f"--gpu: {arguments.gpu} is not known; one of {', '.join(GPUS)}")
    if arguments.results and not arguments.results.is_dir():
        raise StudyError(f"--results: there is no directory {arguments.results}")
    written = arguments.write
    if written and written.exists():
        raise StudyError(f"--write: {written} exists; remove it or name another file")
    study = load_study(arguments.study)
    if known := arguments.model_config:
        if not known.is_file():
            raise StudyError(f"--model-config: there is no file {known}")
        study = study.model_copy(update={"model": PathModel(source="path", path=str(known))})
    show(study, arguments.results, arguments.gpu, arguments.json, written)


def doctor(arguments: argparse.Namespace) -> None:
    from thinktuning import doctor, needs
    from thinktuning.terminal import console

    study = load_study(arguments.study) if arguments.study else None
    findings = [*doctor.examine(study), *needs.examine(study)]
    console().print(doctor.table(findings))
    problems = sum(finding.status == "problem" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    print(f"{problems} problems, {warnings} warnings.")
    sys.exit(int(problems > 0))


def data(arguments: argparse.Namespace) -> None:
    from thinktuning.data import prepare

    prepare(read_config(arguments.config, DataRun), arguments.output)


def base(arguments: argparse.Namespace) -> None:
    from thinktuning.base import materialise

    model = read_config(arguments.config, ModelRun).model
    materialise(model, arguments.data, arguments.output)


def warmup(arguments: argparse.Namespace) -> None:
    from thinktuning.warmup import warm_up

    run = read_config(arguments.config, WarmupRun)
    warm_up(run, arguments.model, arguments.data, arguments.output)


def train(arguments: argparse.Namespace) -> None:
    from thinktuning.train import train

    run = read_config(arguments.config, Run)
    train(run, arguments.model, arguments.data, arguments.output, arguments.teacher)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # All is in place. An interpreter that ends can meet threads that DeepSpeed has left, and
        # abort: "terminate called without an active exception".
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def evaluate(arguments: argparse.Namespace) -> None:
    from thinktuning.evaluate import evaluate

    run = read_config(arguments.config, EvalRun)
    evaluate(run, arguments.model, arguments.data, arguments.output)


def judge(arguments: argparse.Namespace) -> None:
    from thinktuning.judge import judge

    run = read_config(arguments.config, JudgeRun)
    judge(run, arguments.samples, arguments.data, arguments.output, arguments.model)


def compare(arguments: argparse.Namespace) -> None:
    paths = [arguments.config, arguments.results, arguments.tables, arguments.plots]
    if len(arguments.samples) == 2 and not any(paths):
        from thinktuning.pairs import compare_samples

        compare_samples(*arguments.samples)
    elif all(paths) and not arguments.samples:
        from thinktuning.compare import compare

        compare(read_config(arguments.config, CompareRun), *paths[1:])
    else:
        raise StudyError(
            "compare takes two sample files, or all of --config, --results, --tables and --plots"
        )


def report(arguments: argparse.Namespace) -> None:
    from thinktuning.report import report

    report(read_config(arguments.config, CompareRun), arguments.results, arguments.output)


def show(arguments: argparse.Namespace) -> None:
    from thinktuning.show import show

    show(
        arguments.rollouts,
        step=arguments.step,
        taught=arguments.taught,
        wrong=arguments.wrong,
        limit=arguments.limit,
    )


def parser() -> argparse.ArgumentParser:
    """Build the argument parser; the functions above are its subcommands."""
    top = argparse.ArgumentParser(
        prog="thinktuning",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(
        function, summary: str, more: str = "", *, required: bool = True, **paths: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            function.__name__,
            help=summary,
            description=f"{summary}\n\n{more}".strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=function)
        for name, meaning in paths.items():
            option = {"type": Path, "metavar": "PATH", "help": meaning}
            sub.add_argument(f"--{name}", required=required, **option)
        return sub

    command(validate, "Check study files without running them.").add_argument(
        "study", nargs="+", help="a study file (YAML)"
    )
    planned = command(plan, "Say what a study will take: tokens, FLOPs, GPU-hours, memory, disk.")
    planned.add_argument("study", help="a study file (YAML)")
    planned.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="the results of a pilot: the lengths of its answers replace the budgets",
    )
    planned.add_argument(
        "--model-config",
        type=Path,
        metavar="PATH",
        help="a config.json instead of the model's own, e.g. where there is no network",
    )
    planned.add_argument("--gpu", default="A100", help="of the suggested resources [A100]")
    planned.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="write the suggested resources there, for snakemake --configfile STUDY FILE",
    )
    planned.add_argument("--json", action="store_true", help="for programs")
    command(doctor, "Check this machine, and what a study needs of it.", DOCTOR).add_argument(
        "study", nargs="?", help="a study file (YAML); without one, the machine alone"
    )
    resolved = "the stage's resolved configuration (JSON)"
    command(
        data,
        "Prepare training and evaluation questions, free of overlap.",
        config=resolved,
        output="directory for train.jsonl, eval/TASK.jsonl and decontamination.json",
    )
    command(
        base,
        "Materialise the base model as a Hugging Face directory.",
        config=resolved,
        data="directory of the prepared questions (the organism's documents leave them out)",
        output="the model directory to make",
    )
    command(
        warmup,
        "Warm the base up on worked answers to training questions.",
        config=resolved,
        model="directory of the model as it is",
        data="prepared training questions (JSONL)",
        output="the model directory to make",
    )
    command(
        train,
        "Train one method with one seed; an interrupted run resumes.",
        config=resolved,
        model="directory of the base model",
        data="prepared training questions (JSONL)",
        output="directory for model/, metrics.jsonl, rollouts.jsonl and provenance.json",
    ).add_argument(
        "--teacher",
        type=Path,
        metavar="PATH",
        help="directory of the teacher's model, for teacher.backend: model",
    )
    command(
        evaluate,
        "Evaluate one model on one task through lm-eval.",
        config=resolved,
        model="directory of the model",
        data="prepared questions of the task (JSONL)",
        output="directory for results.json and samples.jsonl",
    )
    command(
        judge,
        "Have a model name the reflective behaviours of kept answers.",
        config=resolved,
        samples="the answers (samples.jsonl)",
        data="prepared questions of the task (JSONL)",
        output="the file of judgements to make (JSONL)",
    ).add_argument(
        "--model",
        type=Path,
        metavar="PATH",
        help="directory of the judge's model, for judge.backend: model",
    )
    command(
        compare,
        "Write the tables and plots of a study; or pair two sample files.",
        required=False,
        config=resolved,
        results="directory of the study's results",
        tables="directory for comparison.{csv,md,tex}, subsets, behaviours, flips and cost.csv",
        plots="directory for the SVG plots",
    ).add_argument(
        "samples",
        nargs="*",
        type=Path,
        metavar="SAMPLES",
        help="instead of the options, two samples.jsonl of one task: prints their difference",
    )
    command(
        report,
        "Write one page: tables, plots and a viewer of the rollouts.",
        config=resolved,
        results="directory of the study's results, its tables and plots among them",
        output="the HTML file to make",
    )
    show_rollouts = command(show, "Print rollouts of a run: student, teacher, spliced text.")
    show_rollouts.add_argument(
        "rollouts", type=Path, metavar="RUN", help="a run's directory, or a rollouts.jsonl"
    )
    show_rollouts.add_argument("--step", type=int, help="only those of this optimiser step")
    show_rollouts.add_argument("--taught", action="store_true", help="only the taught ones")
    show_rollouts.add_argument("--wrong", action="store_true", help="only those that end wrong")
    show_rollouts.add_argument("--limit", type=natural, default=10, help="at most so many [10]")
    return top


def natural(text: str) -> int:
    """Read a number of things to show."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is below 0")
    return number


def main() -> None:
    """Run the command line; a user's mistake ends with one clear message and a non-zero exit."""
    arguments = parser().parse_args()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        arguments.run(arguments)
    except StudyError as error:
        sys.exit(f"thinktuning: {error}")
    except Exception as error:
        if not disk_is_full(error):
            raise
        sys.exit(f"\nthinktuning: no space left on the disk; free some, run it again ({error})")


if __name__ == "__main__":
    main()
