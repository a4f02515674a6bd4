"""Run a study with a calm view of its jobs: `thinktuning run [STUDY ...] [snakemake's arguments]`.

It is `snakemake --cores all`, in this process, with the logger plugin in `live`. Snakemake finds
plugins among installed packages by their name, but not in editable installations: so the plugin is
registered here.
"""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_yaml

HELP = """\
thinktuning run [STUDY ...] [snakemake's arguments]

Run a study, or what is left of it: `snakemake --cores all` with a line per job, the bar and the
rewards of each training, and at the end the headline and the page's address. Without a terminal it
prints plain lines. Errors look as they do with Snakemake, whose whole log is in .snakemake/log/.

    thinktuning run                                         config.yaml
    thinktuning run studies/rivals.yaml --directory ~/rivals
    thinktuning run STUDY resources.yaml                    the second file over the first one
    thinktuning run -R evaluate                             all arguments are Snakemake's
    thinktuning run --workflow-profile profiles/slurm
"""
LOGGER = "--logger=thinktuning"
SUFFIXES = (".yaml", ".yml")  # of a study


def run(arguments: Sequence[str]) -> None:
    """Run Snakemake with these arguments; the first ones may be study files.

    Raises:
        StudyError: there is no such study, a study is not first, or there is no workflow here.
    """
    from snakemake.cli import main
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

    from thinktuning.commands import live

    LoggerPluginRegistry().register_plugin("snakemake_logger_plugin_thinktuning", live)
    main(snakemake_arguments(arguments))


def snakemake_arguments(arguments: Sequence[str]) -> list[str]:
    """Return Snakemake's arguments: those given, and what `thinktuning run` adds to them.

    Raises:
        StudyError: there is no such study, a study is not first, or there is no workflow here.
    """
    from snakemake.api import resolve_snakefile
    from snakemake.cli import get_argument_parser

    studies = list(takewhile(is_study, arguments))
    given = list(arguments[len(studies) :])
    end = given.index("--") if "--" in given else len(given)
    given, targets = given[:end], given[end:]
    parsed = get_argument_parser().parse_args(given)
    for study in studies:
        read_yaml(study)  # or say what is wrong with it, before Snakemake does
    for path in parsed.targets:
        if is_study(path) and Path(path).is_file():
            raise StudyError(f"run: {path} is not the first argument; put the study first")
    if resolve_snakefile(parsed.snakefile, allow_missing=True) is None:
        raise StudyError(
            f"{Path.cwd()}: has no Snakefile; run it in the repository, or in a directory that"
            " `thinktuning new DIRECTORY` has written"
        )
    added = [] if parsed.logger else [LOGGER]
    if not (parsed.cores or parsed.jobs or parsed.profile or parsed.workflow_profile):
        added.append("--cores=all")
    if studies:  # the last --configfile counts
        given += ["--configfile", *studies, *map(str, parsed.configfile)]
    return [*added, *given, *targets]


def is_study(argument: str) -> bool:
    """Tell whether an argument names a study file."""
    return argument.endswith(SUFFIXES) and not argument.startswith("-")
