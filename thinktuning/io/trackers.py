"""The keys `report_to`, `run_name` and `project` of a training: experiment trackers.

The names are transformers'. Neither transformers nor a tracker is imported here: a study is read
without them.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, field_validator

from thinktuning.io.errors import StudyError, did_you_mean
from thinktuning.io.section import Section, absent

# tracker -> the module that is imported, and what to install; `pip install 'thinktuning[NAME]'` for
# those of `EXTRAS`, in the versions that are tested
PACKAGES = {
    "azure_ml": ("azureml", "azureml-sdk"),
    "clearml": ("clearml", "clearml"),
    "codecarbon": ("codecarbon", "codecarbon"),
    "comet_ml": ("comet_ml", "comet-ml"),
    "dagshub": ("dagshub", "dagshub"),
    "dvclive": ("dvclive", "dvclive"),
    "flyte": ("flytekit", "flytekit"),
    "kubeflow": (None, ""),  # transformers' own; it reads KUBEFLOW_TRAINER_SERVER_URL
    "mlflow": ("mlflow", "mlflow"),
    "neptune": ("neptune", "neptune"),
    "swanlab": ("swanlab", "swanlab"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "trackio": ("trackio", "trackio"),
    "wandb": ("wandb", "wandb"),
}
Tracker = Annotated[str, Field(json_schema_extra={"enum": [*PACKAGES, "none"]})]
EXTRAS = ("mlflow", "tensorboard", "trackio", "wandb")


def _known(given: str | list[str] | None) -> str | list[str] | None:
    """Check the names; `none` and an empty list are None."""
    names = [given] if isinstance(given, str) else given or []
    if names in ([], ["none"]):
        return None
    for name in names:
        if name == "all":
            raise ValueError("all: name the trackers, of which each may send data elsewhere")
        if name not in PACKAGES:
            raise ValueError(f"unknown tracker {name!r}; {did_you_mean(name, list(PACKAGES))}")
    return given


class TrackedSection(Section):
    """Where a training's metrics go besides its files; a job without a tracker has none of it.

    A run's name is no path: some trackers make a folder of it. `run_name` may contain `PARTS`
    in braces.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("method", "seed", "point")

    report_to: Annotated[
        Tracker | list[Tracker] | None, AfterValidator(_known), Field(exclude_if=absent)
    ] = None
    run_name: Annotated[str, Field(min_length=1)] | None = Field(default=None, exclude_if=absent)
    project: Annotated[str, Field(min_length=1)] | None = Field(default=None, exclude_if=absent)

    @field_validator("run_name")
    @classmethod
    def _a_run(cls, name: str | None) -> str | None:
        return check_name(name, cls.PARTS)

    @field_validator("project")
    @classmethod
    def _a_project(cls, name: str | None) -> str | None:
        return check_name(name, (), path=True)

    @property
    def trackers(self) -> list[str]:
        """The names of the trackers, each once."""
        given = [self.report_to] if isinstance(self.report_to, str) else self.report_to or []
        return list(dict.fromkeys(given))

    def named(self, run: str, project: str, point: str, **parts: str) -> Self:
        """Return this section with the names of run and project; without a tracker, as it is.

        Args:
            run: the run's default name.
            project: the default project.
            point: of a sweep, which the default name begins with; "" is a study without one, and
                `{point}` is then the default project.
            parts: what else `run_name` may contain in braces.
        """
        if not self.trackers:
            return self
        name = self.run_name or (f"{point}-{run}" if point else run)
        for part, value in (parts | {"point": point or project}).items():
            name = name.replace(f"{{{part}}}", value)
        return self.model_copy(update={"run_name": name, "project": self.project or project})

    def unnamed(self) -> Self:
        """Return this section without the names of run and project."""
        return self.model_copy(update={"run_name": None, "project": None})

    def untracked(self) -> Self:
        """Return this section without trackers: what its results depend on."""
        return self.model_copy(update={"report_to": None, "run_name": None, "project": None})


def check_name(name: str | None, parts: Sequence[str], path: bool = False) -> str | None:
    """Return the name of a run or a project.

    Args:
        name: as given.
        parts: what it may contain in braces.
        path: whether it may contain `/`, as an MLflow experiment on Databricks does.

    Raises:
        ValueError: it is a path and may not be one, or has something else in braces.
    """
    if name and (name in (".", "..") or ("/" in name and not path) or "\\" in name):
        raise ValueError("is a path; give a name without / and \\, other than . and ..")
    known = [f"{{{part}}}" for part in parts]
    for part in re.findall(r"\{[^{}]*\}", name or ""):
        if part not in known:
            offered = ", ".join(known)
            raise ValueError(f"unknown part {part}; {f'use {offered}' if known else 'remove it'}")
    return name


def missing(trackers: list[str]) -> dict[str, str]:
    """Return those of the trackers that are not installed -> the command that installs each."""
    found = {}
    for name in trackers:
        module, package = PACKAGES[name]
        if module and not find_spec(module):
            wanted = f"'thinktuning[{name}]'" if name in EXTRAS else package
            found[name] = f"pip install {wanted}"
    return found


def check_installed(section: TrackedSection, key: str) -> None:
    """Refuse trackers that are not installed.

    Args:
        section: names them.
        key: the section's key in the study.

    Raises:
        StudyError: names the first, and the command that installs it.
    """
    for name, command in missing(section.trackers).items():
        raise StudyError(
            f"{key}.report_to: {name} is not installed; install it ({command}), or remove it"
        )
