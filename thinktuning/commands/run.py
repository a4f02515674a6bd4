"""Run a study with a calm view of its jobs: `thinktuning run [STUDY] [snakemake's arguments]`.

It is `snakemake --cores all`, in this process, with the logger plugin in `live`. Snakemake finds
plugins among installed packages by their name, but not in editable installations: so the plugin is
registered here.
"""

from collections.abc import Sequence

HELP = """\
thinktuning run [STUDY] [snakemake's arguments]

Run a study, or what is left of it: `snakemake --cores all` with a line per job, the bar and the
rewards of each training, and at the end the headline and the page's address. Without a terminal it
prints plain lines. Errors look as they do with Snakemake, whose whole log is in .snakemake/log/.

    thinktuning run                                         config.yaml
    thinktuning run studies/rivals.yaml --directory ~/rivals
    thinktuning run -R evaluate                             all arguments are Snakemake's
    thinktuning run --workflow-profile workflow/profiles/slurm
"""
LOGGER = "--logger=thinktuning"
LIMITS = ("--cores", "-c", "--jobs", "-j", "--profile", "--workflow-profile")


def run(arguments: Sequence[str]) -> None:
    """Run Snakemake with these arguments; the first one may be a study file."""
    from snakemake.cli import main
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

    from thinktuning.commands import live

    LoggerPluginRegistry().register_plugin("snakemake_logger_plugin_thinktuning", live)
    main(snakemake_arguments(arguments))


def snakemake_arguments(arguments: Sequence[str]) -> list[str]:
    """Return Snakemake's arguments: those given, and what `thinktuning run` adds to them."""
    given = list(arguments)
    added = [] if any(is_option(argument, "--logger") for argument in given) else [LOGGER]
    if not any(is_option(argument, *LIMITS) for argument in given):
        added.append("--cores=all")
    if given and given[0].endswith((".yaml", ".yml")):
        added.append(f"--configfile={given.pop(0)}")
    return added + given  # in front, and with `=`, since targets may follow an option or `--`


def is_option(argument: str, *names: str) -> bool:
    """Tell whether an argument is one of these options; `-c4` and `--cores=4` are."""
    short = tuple(name for name in names if not name.startswith("--"))
    return argument.partition("=")[0] in names or argument.startswith(short)
