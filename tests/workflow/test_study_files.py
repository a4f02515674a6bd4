"""The study that Snakemake runs: files, overrides, planned resources, and mistakes in them."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from snakemake_run import BIN, DEFAULT, planned, snakemake, write_study


def test_default_study_is_planned_from_any_directory(tmp_path: Path) -> None:
    methods, num_seeds = DEFAULT["methods"].values(), len(DEFAULT["seeds"])
    num_untrained = sum(not method.get("train", True) for method in methods)
    num_runs = (len(methods) - num_untrained) * num_seeds
    num_models = num_runs + num_untrained
    stages = ("data", "exemplars", "model", "compare")
    once = {f"resolve_{stage}": 1 for stage in stages} | {"data": 1, "exemplars": 1, "organism": 1}
    many = {"resolve_train": num_runs, "train": num_runs}
    many |= {"resolve_evaluate": num_models * len(DEFAULT["tasks"]), "evaluate": num_models}
    assert planned(tmp_path) == once | many | {"compare": 1, "report": 1, "all": 1}


def test_overrides_keep_their_types_and_directory_moves_results(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    overrides = ["--config", "seeds=[7]", "training={max_steps: 14, save_steps: 2}"]
    target = "results/runs/grpo/seed7/config.json"
    done = snakemake(tmp_path, target, "--cores", "1", "--directory", str(elsewhere), *overrides)
    assert done.returncode == 0, done.stderr
    resolved = yaml.safe_load((elsewhere / target).read_text())
    assert (resolved["seed"], resolved["training"]["max_steps"]) == (7, 14)
    assert not (tmp_path / "results").exists()


def test_a_planned_resources_file_sets_what_jobs_request(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    study = write_study(tmp_path, small)
    command = [str(BIN / "thinktuning"), "plan", study, "--write", "resources.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"thinktuning run {study} resources.yaml" in done.stdout
    suggested = yaml.safe_load((tmp_path / "resources.yaml").read_text())["resources"]
    assert suggested["train"]["mem_mb"] != DEFAULT["resources"]["train"]["mem_mb"]
    done = snakemake(tmp_path, "--dry-run", "--configfile", study, "resources.yaml")
    jobs = re.findall(
        r"^rule (\w+):\n(?:    .*\n)*?    resources: .*?mem_mb=(\d+)", done.stdout, re.M
    )
    stages = {rule: "model" if rule == "organism" else rule for rule, _ in jobs}
    found = {(stages[rule], int(mb)) for rule, mb in jobs if stages[rule] in suggested}
    assert found == {(stage, values["mem_mb"]) for stage, values in suggested.items()}

    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 1
    assert "--write: resources.yaml exists; remove it or name another file" in again.stderr


def test_mistakes_in_a_study_are_named(tmp_path: Path, small: dict[str, Any]) -> None:
    del small["prompt"]  # the default study's must not replace it
    small["training"]["max_stepz"] = 4
    small["methods"]["grpo"]["algorithm"] = {"enable": False}
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--dry-run", "--configfile", study)
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert f"{study} is not a valid study" in output
    assert "training.max_stepz: unknown key; did you mean `max_steps`?" in output
    assert "prompt: is required and missing" in output
    assert "Traceback" not in output


def test_a_duplicate_key_is_named(tmp_path: Path, small: dict[str, Any]) -> None:
    study = write_study(tmp_path, small)
    (tmp_path / "more.yaml").write_text("name: mine\nname: yours\n")
    done = snakemake(tmp_path, "--dry-run", "--configfile", study, "more.yaml")
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "more.yaml: is not valid YAML" in output and "duplicate key 'name'" in output
    assert "Traceback" not in output
    (tmp_path / "more.yaml").write_text("name: yours\n")
    assert (
        planned(tmp_path, "--configfile", study, "more.yaml", "--config", "seeds=[1]")["train"] == 2
    )
