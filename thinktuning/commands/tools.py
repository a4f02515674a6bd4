"""The subcommands for users: run, watch, validate, plan, doctor, show."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from thinktuning.commands.run import HELP
from thinktuning.data.prompt import student_chat
from thinktuning.io.errors import StudyError
from thinktuning.io.modules import load_modules
from thinktuning.io.trackers import check_installed
from thinktuning.study.reading import load_study, resolved_yaml
from thinktuning.study.sharing import homes, made_at
from thinktuning.study.study import Study
from thinktuning.study.tracked import tracked
from thinktuning.teachers.prompts import load

if TYPE_CHECKING:
    from thinktuning.commands.cli import Subcommands

DOCTOR = """\
Checks Python, the packages and their versions, CUDA and the GPUs, vLLM, disk, the hub's token and
cache, and says how to fix what is wrong. With a study it also checks what that study needs: GPUs,
memory, models, questions, servers.

    ok        in order
    warning   may stop the study, or has to be done before it, e.g. starting a server
    problem   will stop the study; the exit code is 1

Nodes differ in their GPUs: on a cluster, run it where the jobs run, e.g.

    srun --gpus=2 thinktuning doctor studies/mine.yaml     # as many GPUs as a job of the study uses
"""
WATCH = """\
Follows the curves and the latest rollout of a training, or of all trainings of a study, and ends
when all have published their results or diverged. One that failed otherwise or was killed looks
like one that is slow: it is shown as quiet, with its log. Ctrl-C leaves; the trainings go on.
Without a terminal it prints a line per batch.
"""
RESOLVED = """\
--resolved prints the whole study, with everything it extends and every default filled in: a study
file that needs no other and runs the same.
"""


def add_tools(commands: "Subcommands") -> None:
    """Add the tools' subcommands."""
    checked = commands.add(validate, "Check study files without running them.", RESOLVED)
    checked.add_argument("study", nargs="+", help="a study file (YAML)")
    checked.add_argument("--resolved", action="store_true", help="print the whole study as YAML")
    commands.add(run, "Run a study, with a calm view of its jobs.", HELP)
    add_plan(commands)
    commands.add(doctor, "Check this machine, and what a study needs.", DOCTOR).add_argument(
        "study", nargs="?", help="a study file (YAML); without one, only the machine is checked"
    )
    rollouts = commands.add(show, "Print a run's rollouts: student, teacher, spliced text.")
    rollouts.add_argument(
        "rollouts", type=Path, metavar="RUN", help="a run's directory or a rollouts.jsonl"
    )
    rollouts.add_argument("--step", type=int, help="only rollouts of this optimizer step")
    rollouts.add_argument("--taught", action="store_true", help="only rollouts that were taught")
    rollouts.add_argument(
        "--wrong", action="store_true", help="only rollouts whose final answer is wrong"
    )
    rollouts.add_argument("--limit", type=natural, default=10, help="print at most this many [10]")
    watched = commands.add(watch, "Follow trainings while they run: curves and rollouts.", WATCH)
    watched.add_argument(
        "followed",
        type=Path,
        metavar="RUN",
        help="a run's directory, or the results of a study",
        nargs="?",
        default=Path("results"),
    )
    watched.add_argument("--once", action="store_true", help="print how far they are, and end")


def add_plan(commands: "Subcommands") -> None:
    """Add the subcommand `plan`."""
    planned = commands.add(
        plan, "Estimate what a study will take: tokens, FLOPs, GPU-hours, memory, disk."
    )
    planned.add_argument("study", help="a study file (YAML)")
    planned.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="results of a pilot, whose answer lengths replace the token budgets",
    )
    planned.add_argument(
        "--model-config",
        type=Path,
        metavar="PATH",
        help="a config.json to use instead of the model's own, e.g. without network access",
    )
    planned.add_argument("--gpu", default="A100", help="GPU of the suggested resources [A100]")
    planned.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="write the suggested resources to FILE, for snakemake --configfile STUDY FILE",
    )
    planned.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> None:
    """Stand for `thinktuning run`, whose arguments are Snakemake's: `cli.main` passes them on."""


def validate(arguments: argparse.Namespace) -> None:
    """Check study files and their prompts; print one line per study, or the resolved study."""
    for path in arguments.study:
        study = load_study(path)
        for point in study.points().values():
            check_prompts(point)
            for key, section in tracked(point).items():
                check_installed(section, key)
        if arguments.resolved:
            print(resolved_yaml(study), end="")
            continue
        points = homes(study.points())
        kinds = [job.split("/")[0] for at, found in points.items() for job in made_at(found, at)]
        print(
            f"{path}: valid. Study {study.name!r}: "
            + (f"{len(points)} points, " if study.sweep else "")
            + f"{len(study.methods)} methods, {kinds.count('runs')} training runs,"
            f" {kinds.count('eval') * len(study.tasks)} evaluations.{budgets_text(study)}"
        )


def budgets_text(study: Study) -> str:
    """Return a sentence on the token budgets, at each point if they differ; "" without any."""
    found: dict[str, list[str]] = {}
    for name, point in study.points().items():
        each = []
        for method, budget in point.budgets().items():
            steps = point.train_job(method, point.seeds[0]).training.max_steps
            each.append(f"{method} {budget.text()} in at most {steps} steps")
        found.setdefault("; ".join(each), []).append(name)
    where = {text: f" at {', '.join(names)}" for text, names in found.items()}
    if len(found) == 1:
        where = dict.fromkeys(found, "")
    return "".join(f" Token budgets{where[text]}: {text}." for text in found if text)


def check_prompts(study: Study) -> None:
    """Load every prompt of the study, so that a missing one is found now."""
    for method in study.trained():
        job = study.train_job(method, study.seeds[0])
        if job.algorithm.uses_teacher:
            load(job.teacher.prompt).select(job.teacher.behaviors)
        job.algorithm.resampling_chat(student_chat("", job.prompt))
    if study.judge:
        load(study.judge.prompt, "judge.prompt")


def plan(arguments: argparse.Namespace) -> None:
    """Print the estimates for a study."""
    from thinktuning.models.config import PathModelConfig
    from thinktuning.planning.costs import GPUS
    from thinktuning.planning.plan import show

    if arguments.gpu not in GPUS:
        raise StudyError(f"--gpu: unknown GPU {arguments.gpu}; choose from {', '.join(GPUS)}")
    if arguments.results and not arguments.results.is_dir():
        raise StudyError(f"--results: {arguments.results} is not a directory; correct the path")
    written = arguments.write
    if written and written.exists():
        raise StudyError(f"--write: {written} exists; remove it or name another file")
    study = load_study(arguments.study)
    if known := arguments.model_config:
        if not known.is_file():
            raise StudyError(f"--model-config: {known} is not a file; correct the path")
        if study.sweep:
            raise StudyError("--model-config: the points of a sweep have models of their own")
        model = PathModelConfig(source="path", path=str(known))
        study = study.model_copy(update={"model": model})
    load_modules("transformers.modeling_utils")
    show(study, arguments.results, arguments.gpu, arguments.json, written)
    if written and not arguments.json:
        run = shlex.join(["thinktuning", "run", str(arguments.study), str(written)])
        print(f"\nRun it with these resources: {run}")


def doctor(arguments: argparse.Namespace) -> None:
    """Print the findings about this machine; exit with 1 if any is a problem."""
    from thinktuning.io.terminal import console
    from thinktuning.planning import doctor, requirements

    study = load_study(arguments.study) if arguments.study else None
    load_modules("torch" if study is None else "transformers.modeling_utils")
    findings = [*doctor.examine(study), *requirements.examine(study)]
    console().print(doctor.table(findings))
    problems = sum(finding.status == "problem" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    print(f"{problems} problems, {warnings} warnings.")
    sys.exit(int(problems > 0))


def show(arguments: argparse.Namespace) -> None:
    """Print rollouts of a run."""
    from thinktuning.analysis.show import show

    show(
        arguments.rollouts,
        step=arguments.step,
        taught=arguments.taught,
        wrong=arguments.wrong,
        limit=arguments.limit,
    )


def watch(arguments: argparse.Namespace) -> None:
    """Follow trainings."""
    from thinktuning.analysis.watch import watch

    watch(arguments.followed, once=arguments.once)


def natural(text: str) -> int:
    """Parse a count of 0 or more."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is below 0")
    return number
