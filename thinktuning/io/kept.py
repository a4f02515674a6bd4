"""Results that a job need not make again.

Snakemake knows the outputs of whole jobs only: it deletes all of them before a job starts, and
again if it fails. Where a job makes the results of several tasks, or may find that what it reads is
the same as before, results are therefore kept next to their place until the job is done:

- `.before` has those that were there when Snakemake was called. The Snakefile sets them aside,
  unless the user wants to have them made again.
- `.done` has those that the job has made or found valid. It outlives a failure, so that the next
  attempt makes the others only.

A user who deletes one file of a task's results asks for all of them again, so what is kept of them
goes too. Where all are missing, a job that did not finish has deleted them.

Whether results are valid is for the job to say: they tell what they were made from.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path


def set_aside(directory: Path, names: Sequence[str]) -> None:
    """Set results aside, before Snakemake deletes them.

    Args:
        directory: of the results.
        names: their files; the last one is complete only if the others are.
    """
    before, _ = places(directory, names)
    if is_partial(directory, names):
        forget(directory, names)
    elif (directory / names[0]).is_file():
        shutil.rmtree(before, ignore_errors=True)
        copy(directory, before, names)


def forget(directory: Path, names: Sequence[str]) -> None:
    """Drop what is kept: the job is done, or everything is to be made again."""
    for place in places(directory, names):
        shutil.rmtree(place, ignore_errors=True)


def recover(directory: Path, names: Sequence[str], is_valid: Callable[[Path], bool]) -> bool:
    """Put valid results in place, if there are any, and keep them until the job is done.

    Args:
        directory: of the results.
        names: their files; the last one is complete only if the others are.
        is_valid: whether a directory has valid results.
    """
    before, done = places(directory, names)
    if is_partial(directory, names):
        forget(directory, names)
    for place in (done, before):
        if not is_valid(directory) and is_valid(place):
            copy(place, directory, names)
    if found := is_valid(directory):
        keep(directory, names)
    return found


def keep(directory: Path, names: Sequence[str]) -> None:
    """Keep results until the job is done."""
    _, done = places(directory, names)
    shutil.rmtree(done, ignore_errors=True)
    copy(directory, done, names)


def places(directory: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """Return where results are kept; a directory can have those of several jobs."""
    return directory / f".{names[-1]}.before", directory / f".{names[-1]}.done"


def is_partial(directory: Path, names: Sequence[str]) -> bool:
    """Return whether a directory has some of the files, but not all."""
    return len({(directory / name).is_file() for name in names}) == 2


def copy(source: Path, target: Path, names: Sequence[str]) -> None:
    """Copy files in this order, each completely or not at all."""
    target.mkdir(exist_ok=True)
    for name in names:
        partial = target / f".{name}.partial"
        shutil.copy(source / name, partial)
        os.replace(partial, target / name)
