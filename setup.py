"""Puts the workflow's files into the wheel; all else is in pyproject.toml.

The repository has one copy of them, at its root: thinktuning/io/project.py lists them.
"""

import runpy
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py

PROJECT: dict[str, Any] = runpy.run_path("thinktuning/io/project.py")


class BuildWithWorkflow(build_py):
    """Also copies the workflow's files; an editable installation reads those of the repository."""

    def run(self) -> None:
        """Build the package."""
        super().run()
        if not self.editable_mode:
            for source, target in self._workflow().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return the files that are installed."""
        found: list[str] = super().get_outputs(include_bytecode)
        return found if self.editable_mode else [*found, *self._workflow().values()]

    def get_source_files(self) -> list[str]:
        """Return the files that a source distribution needs."""
        return [*super().get_source_files(), *self._workflow()]

    def _workflow(self) -> dict[str, str]:
        target = Path(self.build_lib, "thinktuning", PROJECT["IN_WHEEL"])
        files = PROJECT["project_files"](Path())
        return {str(path): str(target / path) for path in files}


setup(cmdclass={"build_py": BuildWithWorkflow})
