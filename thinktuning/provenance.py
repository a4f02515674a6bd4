"""Where a result comes from: commit, versions, machine, and what it cost."""

import platform
import resource
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "thinktuning",
    "torch",
    "transformers",
    "trl",
    "peft",
    "lm_eval",
    "datasets",
    "math-verify",
)


def collect() -> dict[str, Any]:
    """Return the commit (None outside a checkout) and the versions that made a result."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {
            name: installed for name in PACKAGES if (installed := installed_version(name))
        },
    }


def commit() -> str | None:
    """Return the checkout's commit, with `-dirty` when tracked files differ from it."""
    git = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty",
    ]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def peak_memory_mb() -> float:
    """Return this process's peak resident memory in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if platform.system() == "Darwin" else 2**10)
