"""The workflow's own files: Snakefile, default study, rules, profiles, other studies.

The repository has them at its root; setup.py puts them into the wheel, beside the modules. It reads
`FILES` from here without the package, so this module imports nothing of it.
"""

from collections.abc import Iterator
from pathlib import Path

FILES = (
    "Snakefile",
    "config.yaml",
    "environment.post-deploy.sh",
    "environment.yml",
    "studies/*.yaml",
    "workflow/Snakefile",
    "workflow/launch_on_nodes.sh",
    "profiles/*/*.yaml",
    "workflow/report/*.rst",
    "workflow/rules/*.smk",
    "workflow/schemas/*.json",
)
IN_WHEEL = "project"  # the directory in the installed package


def project_files(root: Path) -> Iterator[Path]:
    """Yield the files, relative to `root`, a repository or what was installed of it.

    Raises:
        FileNotFoundError: a pattern of `FILES` matches nothing.
    """
    for pattern in FILES:
        found = sorted(root.glob(pattern))
        if not found:
            raise FileNotFoundError(f"{root / pattern}: no such file of the workflow")
        yield from (path.relative_to(root) for path in found)


def project() -> Path:
    """Return the directory of the workflow's files: in the installed package, or the repository."""
    package = Path(__file__).parents[1]
    installed = package / IN_WHEEL
    return installed if installed.is_dir() else package.parent
