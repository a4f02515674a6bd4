"""The command line: one subcommand per stage of the workflow, and tools for users.

Heavy imports wait until the arguments are parsed.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from thinktuning.commands.followups import add_followups
from thinktuning.commands.project import add_project
from thinktuning.commands.stages import add_stages
from thinktuning.commands.tools import add_tools
from thinktuning.io.errors import StudyError
from thinktuning.io.files import disk_is_full
from thinktuning.io.provenance import installed_version

DESCRIPTION = """\
Train language models to reflect, and measure whether they do (ThinkTuning, arXiv 2508.07616).

A study file describes data, base model, methods and evaluation; the workflow runs it:

    thinktuning new DIRECTORY                   write the workflow and the default study there
    thinktuning validate STUDY                  check a study without running it
    thinktuning plan STUDY                      estimate tokens, GPU-hours, memory, disk
    thinktuning doctor STUDY                    check that this machine can run it
    snakemake --cores all                       run the default study, config.yaml
    snakemake --cores all --configfile STUDY    run another study
    snakemake --cores all -R evaluate           run one stage again
    thinktuning run [STUDY]                     the same, with a calm view of the jobs

    thinktuning watch results                   follow the trainings while they run
    thinktuning show results/runs/METHOD/seed0  print rollouts, also while training runs
    thinktuning push results/runs/METHOD/seed0 --repo NAME/MODEL    publish a run on the hub
    thinktuning compare A/samples.jsonl B/samples.jsonl    or two of lm-eval's --log_samples files

The other subcommands are the workflow's stages. Each reads a resolved configuration that the
workflow wrote, e.g. results/runs/grpo/seed0/config.json, and can also be run by hand.
"""


class Subcommands:
    """The subcommands of a parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        self,
        run: Callable[[argparse.Namespace], None],
        summary: str,
        more: str = "",
        *,
        required: bool = True,
        **paths: str,
    ) -> argparse.ArgumentParser:
        """Add a subcommand with the name of its function.

        Args:
            run: the function; it takes the parsed arguments.
            summary: one sentence for the list of subcommands.
            more: further help.
            required: whether the options in `paths` are required.
            **paths: options that take a path: name -> help.
        """
        sub = self._commands.add_parser(
            run.__name__,
            help=summary,
            description=f"{summary}\n\n{more}".strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        for name, meaning in paths.items():
            sub.add_argument(
                f"--{name}", required=required, type=Path, metavar="PATH", help=meaning
            )
        return sub


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    top = argparse.ArgumentParser(
        prog="thinktuning",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = installed_version("thinktuning") or "(not installed)"
    top.add_argument("--version", action="version", version=f"%(prog)s {version}")
    commands = Subcommands(top)
    add_tools(commands)
    add_followups(commands)
    add_project(commands)
    add_stages(commands)
    return top


def main() -> None:
    """Run the command line; a user's mistake ends in one message and a non-zero exit code."""
    try:
        start(sys.argv[1:])
    except StudyError as error:
        sys.exit(f"thinktuning: {error}")
    except Exception as error:
        if not disk_is_full(error):
            raise
        sys.exit(f"\nthinktuning: the disk is full; free some space and run it again ({error})")


def start(given: Sequence[str]) -> None:
    """Run a subcommand with its arguments."""
    if given[:1] == ["run"] and not {"-h", "--help"} & {*given}:
        from thinktuning.commands.run import run

        return run(given[1:])
    arguments = parser().parse_args(given)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch: huge pages for logits on a CPU
    arguments.run(arguments)


if __name__ == "__main__":
    main()
