"""What Snakemake's workflow catalog asks for: the lint, the layout, and use as a module."""

import json
import re
from pathlib import Path

import pytest
import yaml
from apart import Environment, copy_repository, git
from snakemake_run import ROOT, planned, snakemake

# What snakedeploy writes to workflow/Snakefile, with the place of the workflow left open.
MODULE = """\
from snakemake.utils import min_version


min_version("6.10.0")


configfile: "config/config.yaml"


module thinktuning:
    snakefile:
        {snakefile}
    config:
        config


use rule * from thinktuning
"""


def deploy(directory: Path, snakefile: str) -> Path:
    """Write what snakedeploy does: the directory config/, links followed, and the module."""
    (directory / "workflow").mkdir(parents=True)
    (directory / "workflow/Snakefile").write_text(MODULE.format(snakefile=snakefile))
    (directory / "config").mkdir()
    for path in (ROOT / "config").iterdir():
        (directory / "config" / path.name).write_bytes(path.read_bytes())
    return directory


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The place of the workflow in a repository with these files, from which git fetches."""
    repository = copy_repository(tmp_path / "github/owner/thinktuning")
    git(repository, "init", "--quiet")
    git(repository, "add", "--all")
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    git(repository, *author, "commit", "--quiet", "--message", "All")
    git(repository, "tag", "v0.1.0")
    here = {"KEY_0": f"url.file://{tmp_path}/github/.insteadOf", "VALUE_0": "https://github.com/"}
    for name, value in (here | {"COUNT": "1"}).items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return 'github("owner/thinktuning", path="workflow/Snakefile", tag="v0.1.0")'


def test_the_catalog_finds_what_it_looks_for() -> None:
    assert (ROOT / "workflow/Snakefile").is_file() and (ROOT / "config/README.md").is_file()
    assert (ROOT / "config/config.yaml").resolve() == ROOT / "config.yaml"  # one copy
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"] == {"conda": True}
    assert usage["report"] is True
    assert {"snakemake", "workflow"} <= set(
        re.findall(r"\w+", (ROOT / "README.md").read_text().lower())
    )


def test_the_catalogs_snakefile_plans_the_default_study_and_that_of_dot_test(
    tmp_path: Path,
) -> None:
    snakefile = ("--snakefile", str(ROOT / "workflow/Snakefile"))
    found = planned(tmp_path, *snakefile, "--config", "seeds=[7]")
    assert (found["train"], found["resolve_evaluate"], found["all"]) == (2, 4 * 3, 1)
    study = str(ROOT / ".test/config/config.yaml")
    found = planned(tmp_path, *snakefile, "--configfile", study)
    assert (found["train"], found["resolve_evaluate"], found["all"]) == (4, 6 * 2, 1)


def test_the_lint_needs_no_package_and_a_run_says_that_it_does(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment")
    assert environment.run(tmp_path, "python", "-c", "import thinktuning").returncode == 1
    snakefile = ("--snakefile", str(ROOT / "workflow/Snakefile"))
    done = environment.run(tmp_path, "snakemake", "--lint", *snakefile)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Congratulations" in done.stderr
    done = environment.run(tmp_path, "snakemake", "--dry-run", *snakefile)
    assert done.returncode == 1
    output = done.stdout + done.stderr
    assert "There is no module thinktuning where snakemake runs: install the package" in output
    assert "Traceback" not in output


def test_a_module_from_a_repository_plans_the_study_of_its_config(
    tmp_path: Path, github: str
) -> None:
    directory = deploy(tmp_path / "deployed", github)
    called = ("--snakefile", "workflow/Snakefile")
    found = planned(directory, *called, "--config", "seeds=[7]")
    assert (found["train"], found["compare"], found["all"]) == (2, 1, 1)
    config = yaml.safe_load((directory / "config/config.yaml").read_text())
    config["training"]["max_stepz"] = 4
    (directory / "config/config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(directory, "--dry-run", *called)
    assert done.returncode == 1
    output = done.stdout + done.stderr
    assert "The module's config is not a valid study" in output
    assert "training.max_stepz: unknown key; did you mean `max_steps`?" in output


@pytest.mark.slow
def test_a_module_of_a_checkout_runs(tmp_path: Path) -> None:
    directory = deploy(tmp_path / "deployed", repr(str(ROOT / "workflow/Snakefile")))
    study = {"extends": str(ROOT / "studies/smallest.yaml"), "seeds": [3]}
    (directory / "config/config.yaml").write_text(yaml.safe_dump(study))
    called = ("--snakefile", "workflow/Snakefile", "--cores", "1")
    target = "results/runs/grpo/seed3/config.json"
    done = snakemake(directory, target, "results/data/train.jsonl", *called)
    assert done.returncode == 0, done.stderr
    assert json.loads((directory / target).read_text())["training"]["max_steps"] == 8
    assert (directory / "results/data/train.jsonl").is_file()


def test_a_module_without_a_study_says_so(tmp_path: Path) -> None:
    directory = deploy(tmp_path / "deployed", repr(str(ROOT / "workflow/Snakefile")))
    snakefile = directory / "workflow/Snakefile"
    text = snakefile.read_text().replace("    config:\n        config\n", "")
    snakefile.write_text(text)
    done = snakemake(directory, "--dry-run", "--snakefile", "workflow/Snakefile")
    assert done.returncode == 1
    assert "The module of thinktuning has no study" in done.stdout + done.stderr
