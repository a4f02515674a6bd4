"""Snakemake resolves a study as `thinktuning validate --resolved` does."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml
from snakemake_run import BIN, ROOT, snakemake

from thinktuning.study.jobs import ModelJob, sealed, to_json
from thinktuning.study.reading import parse_study
from thinktuning.study.study import Study

CONTROLS = ROOT / "studies/controls.yaml"
OVERLAY = """\
seeds: [0, 7]
training: {max_steps: 40}
methods:
  zero_shot_reflect: null
  grpo_tokens: {training: {max_steps: 80}}
"""


def validated(path: Path) -> Study:
    """Return the study that `thinktuning validate --resolved` prints."""
    command = [str(BIN / "thinktuning"), "validate", "--resolved", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return parse_study(yaml.safe_load(done.stdout), "printed")


def configurations(study: Study) -> dict[str, Any]:
    """Return path -> the configuration of every job of a study."""
    jobs = {"results/data/config.json": study.data_job()}
    jobs |= {"results/data/exemplars.config.json": study.exemplars_job()}
    jobs |= {"results/tables/config.json": study.compare_job()}
    for name, model in study.models().items():
        jobs[f"results/models/{name}.json"] = ModelJob(model=model)
    for method in study.trained():
        for seed in study.seeds:
            jobs[f"results/runs/{method}/seed{seed}/config.json"] = study.train_job(method, seed)
    for method, settings in study.methods.items():
        for seed in study.evaluated_seeds(method):
            for task in study.tasks:
                job = study.evaluate_job(method, seed if settings.train else None, task)
                jobs[f"results/eval/{method}/seed{seed}/{task}/config.json"] = job
    return {path: json.loads(to_json(sealed(job))) for path, job in jobs.items()}


def dry_run(directory: Path, *arguments: str) -> dict[str, Any]:
    """Return path -> the configuration that a dry run says it would write."""
    done = snakemake(directory, "--dry-run", "--printshellcmds", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    commands = re.findall(r"printf %s (.*?) > (results/\S+\.json) 2> ", done.stdout, re.S)
    return {path: json.loads(shlex.split(text)[0]) for text, path in commands}


def extending(directory: Path, text: str) -> Path:
    """Write a study that extends `studies/controls.yaml`."""
    path = directory / "expected.yaml"
    path.write_text(f"extends: {CONTROLS}\n{text}")
    return path


def test_an_extending_study(tmp_path: Path) -> None:
    expected = configurations(validated(CONTROLS))
    tokens = expected["results/runs/grpo_tokens/seed0/config.json"]
    assert (tokens["training"]["max_steps"], tokens["answer_kind"]) == (424, "number")
    assert dry_run(tmp_path, "--configfile", str(CONTROLS)) == expected


def test_a_second_file_is_merged_over_an_extending_study(tmp_path: Path) -> None:
    (tmp_path / "overlay.yaml").write_text(OVERLAY)
    study = validated(extending(tmp_path, OVERLAY))
    assert study.seeds == [0, 7] and "zero_shot_reflect" not in study.methods
    found = dry_run(tmp_path, "--configfile", str(CONTROLS), "overlay.yaml")
    assert found == configurations(study)


def test_config_overrides_nested_keys_of_an_extending_study(tmp_path: Path) -> None:
    overrides = ["seeds=[0, 7]", "training={max_steps: 40}"]
    overrides += ["methods={zero_shot_reflect: null, grpo_tokens: {training: {max_steps: 80}}}"]
    expected = configurations(validated(extending(tmp_path, OVERLAY)))
    tokens = expected["results/runs/grpo_tokens/seed7/config.json"]["training"]
    assert (tokens["max_steps"], tokens["num_generations"]) == (80, 8)
    assert dry_run(tmp_path, "--configfile", str(CONTROLS), "--config", *overrides) == expected


def test_a_missing_base_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: none.yaml\nname: mine\n")
    done = snakemake(tmp_path, "--dry-run", "--configfile", "mine.yaml")
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert re.search(r"mine\.yaml: extends: .*none\.yaml", output)
    assert "Traceback" not in output
