"""The subcommands for a finished study: intervene, push."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from thinktuning.io.errors import StudyError
from thinktuning.io.modules import load_modules

if TYPE_CHECKING:
    from thinktuning.commands.cli import Subcommands

CAUSES = """\
Whether reflection corrects answers or only confirms them does not show in answers as they are. So
each of a study's models goes on from changed beginnings of its own answers:

    cut          nothing follows the first answer
    doubt        the words of --doubt begin a reflection
    agree        the words of --agree begin a reflection
    right_first  the right answer takes the first one's place
    wrong_first  a wrong answer takes the first one's place
    swap         the reflection of another question's answer follows the first answer

An interrupted command can be repeated: answers that are there are kept.
"""
PUSH = """\
Sends the model, a card with the study's results, its provenance, and its accuracy on benchmarks of
the hub. Look at what it would send first:

    thinktuning push results/runs/thinktuning/seed0 --repo NAME/MODEL --dry-run --output card

A run that has not finished or has diverged is refused, and so is a repository that has files. The
token is that of `hf auth login` or HF_TOKEN.
"""


def add_followups(commands: "Subcommands") -> None:
    """Add the subcommands."""
    add_intervene(commands)
    add_push(commands)


def add_intervene(commands: "Subcommands") -> None:
    """Add the subcommand `intervene`."""
    changed = commands.add(intervene, "Cut, force or swap reflection in a study's answers.", CAUSES)
    changed.add_argument("results", type=Path, metavar="RESULTS", help="of a finished study")
    changed.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="directory for interventions.{csv,md,svg} and the answers [RESULTS/interventions]",
    )
    for name in ("methods", "tasks"):
        changed.add_argument(
            f"--{name}", nargs="+", default=[], metavar="NAME", help=f"only these {name}"
        )
    changed.add_argument(
        "--doubt", metavar="TEXT", help="how forced doubt begins [Wait, let me check: ]"
    )
    changed.add_argument(
        "--agree", metavar="TEXT", help="how forced agreement begins [Let me go through it again: ]"
    )


def add_push(commands: "Subcommands") -> None:
    """Add the subcommand `push`."""
    published = commands.add(push, "Publish a finished run's model on the Hugging Face hub.", PUSH)
    published.add_argument("directory", type=Path, metavar="RUN", help="a run's directory")
    published.add_argument("--repo", required=True, metavar="NAME/MODEL", help="id on the hub")
    published.add_argument(
        "--dry-run", action="store_true", help="write the folder (--output) and send nothing"
    )
    published.add_argument(
        "--output", type=Path, metavar="DIR", help="keep the folder that is published"
    )
    published.add_argument("--private", action="store_true", help="in a private repository")
    published.add_argument(
        "--update", action="store_true", help="replace the model in a repository that has one"
    )
    published.add_argument(
        "--marked", action="store_true", help="publish a run that the tables mark, too"
    )
    published.add_argument(
        "--license", metavar="ID", help="license of the weights, e.g. apache-2.0"
    )


def intervene(arguments: argparse.Namespace) -> None:
    """Write what interventions on reflection change."""
    if not arguments.results.is_dir():
        raise StudyError(f"{arguments.results} is not a directory; correct the path")
    load_modules("transformers.modeling_utils", "thinktuning.commands.intervene")
    from thinktuning.commands.intervene import Settings, intervene

    words = {name: getattr(arguments, name) for name in ("doubt", "agree")}
    settings = Settings(**{name: said for name, said in words.items() if said is not None})
    output = arguments.output or arguments.results / "interventions"
    intervene(arguments.results, output, arguments.methods, arguments.tasks, settings)
    print(f"written: {output}/interventions.md, .csv and .svg")


def push(arguments: argparse.Namespace) -> None:
    """Publish a run."""
    if arguments.dry_run and not arguments.output:
        raise StudyError("--dry-run needs --output DIR, the folder to write")
    from thinktuning.commands.push import push

    print(
        push(
            arguments.directory,
            arguments.repo,
            folder=arguments.output,
            dry_run=arguments.dry_run,
            private=arguments.private,
            update=arguments.update,
            marked=arguments.marked,
            license=arguments.license,
        )
    )
