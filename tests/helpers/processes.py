"""Runs commands as the workflow does: in several processes through `accelerate launch`."""

import os
import subprocess
import sys
from pathlib import Path

HELPERS = Path(__file__).parent
ACCELERATE = HELPERS.parents[1] / "thinktuning/commands/accelerate"  # the packaged settings


def command(distributed, num_processes, *arguments):
    """Return the command for a job in several processes; for one process, plain Python."""
    if num_processes == 1:
        return [sys.executable, *map(str, arguments)]
    settings = ACCELERATE / f"{distributed}.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(settings)]
    launch += ["--num_processes", str(num_processes), "--main_process_port", "0"]
    return [*launch, *map(str, arguments)]


def environment():
    """Return the environment for such a command on CPUs."""
    # other tests' vLLM engines leave these variables in this process
    places = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    own = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(HELPERS / "on_cpu")}
    return {name: value for name, value in os.environ.items() if name not in places} | own


def run(distributed, num_processes, *arguments, **settings):
    """Run a command in several processes; `settings` go to subprocess.run."""
    return subprocess.run(
        command(distributed, num_processes, *arguments),
        **({"capture_output": True, "text": True, "env": environment(), "timeout": 300} | settings),
    )
