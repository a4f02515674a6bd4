"""Copies of the repository, and environments of Python that do not know it."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from pages import ROOT
from snakemake_run import executable


def git(directory: Path, *arguments: str) -> str:
    """Run git in a directory and return what it prints."""
    done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracked() -> list[str]:
    """Return the repository's files, new ones included."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [name for name in listed if name not in ("", ".venv") and os.path.lexists(ROOT / name)]


def copy_repository(directory: Path) -> Path:
    """Copy the repository's files to a directory, and return it."""
    for name in tracked():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target, follow_symlinks=False)
    return directory


class Environment:
    """A virtual environment with the packages of this one, and without thinktuning.

    The packages are on its path, but their .pth files are not read, so that an editable
    installation of thinktuning is not found.
    """

    def __init__(self, directory: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
        self.bin = directory / "bin"
        names = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
        (site,) = directory.glob("lib/python3*/site-packages")
        (site / "packages.pth").write_text("\n".join(names))
        script = f"#!{self.bin}/python\nfrom snakemake.cli import main\n\nmain()\n"
        executable(self.bin / "snakemake", script)

    def run(self, directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment in a directory."""
        known = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=directory,
            capture_output=True,
            text=True,
            env=known | {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"},
        )
