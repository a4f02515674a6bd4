"""The subcommands for a directory of one's own, outside the repository: new, schema."""

import argparse
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from thinktuning.io.errors import StudyError
from thinktuning.io.files import disk_is_full
from thinktuning.io.project import project, project_files

if TYPE_CHECKING:
    from thinktuning.commands.cli import Subcommands

NEW = """\
The directory then has all that `snakemake` needs there, to be edited and put under version control:

    config.yaml     the default study, with a comment on each key; studies/ has others
    Snakefile       and workflow/: rules, captions, the schema of a study
    profiles/       how it runs on this machine, and on SLURM
"""
SCHEMA = """\
Editors check and complete a study with it, by a comment in the study's first line:

    # yaml-language-server: $schema=workflow/schemas/config.schema.json

It knows keys, types and ranges; `thinktuning validate` also finds contradictions between keys.
"""


def add_project(commands: "Subcommands") -> None:
    """Add the subcommands."""
    made = commands.add(new, "Write the workflow and the default study to a directory.", NEW)
    made.add_argument("directory", type=Path, help="a new or an empty directory")
    commands.add(schema, "Print the JSON schema of a study file.", SCHEMA)


def new(arguments: argparse.Namespace) -> None:
    """Write the workflow's files to a directory."""
    directory: Path = arguments.directory
    try:
        refuse_what_is_there(directory)
        source = project()
        for path in project_files(source):
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / path, directory / path)
    except OSError as error:
        if disk_is_full(error):
            raise
        raise StudyError(
            f"cannot write to {directory}: {error.strerror or error}; name another one"
        ) from None
    shown = f"./{directory}" if str(directory).startswith("-") else str(directory)
    print(
        f"Wrote the workflow and the default study to {directory}. To run them:\n\n"
        f"    cd {shlex.quote(shown)}\n"
        "    snakemake --cores all --configfile studies/smallest.yaml    # a first look\n"
        "    snakemake --cores all                                       # config.yaml"
    )


def refuse_what_is_there(directory: Path) -> None:
    """Refuse a directory that has anything in it, and what is no directory.

    Raises:
        StudyError: says what is there.
    """
    if directory.exists() and not directory.is_dir():
        raise StudyError(f"{directory} is not a directory; name another one")
    if directory.is_dir() and (found := sorted(path.name for path in directory.iterdir())):
        raise StudyError(
            f"{directory} is not empty (it has {', '.join(found[:3])}{', ...' * (len(found) > 3)});"
            " nothing was written: name a new or an empty directory"
        )


def schema(arguments: argparse.Namespace) -> None:
    """Print the JSON schema of a study file."""
    from thinktuning.study.schema import schema_text

    print(schema_text(), end="")
