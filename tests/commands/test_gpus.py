"""GPUs of a machine or a SLURM job, shared by concurrent jobs."""

import os
import signal
import subprocess
import sys

import pytest

SHOW = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep({})"


@pytest.fixture
def start(tmp_path):
    """Start a job on `number` of the GPUs 4, 5 and 6; it prints which, and runs for `seconds`."""
    started = []

    def begin(number, seconds=60, **variables):
        environment = {k: v for k, v in os.environ.items() if k != "SLURM_JOB_ID"}
        environment |= {"CUDA_VISIBLE_DEVICES": "4,5,6", "TMPDIR": str(tmp_path)} | variables
        command = [sys.executable, "-m", "thinktuning.commands.gpus", str(number)]
        job = subprocess.Popen(
            [*command, sys.executable, "-c", SHOW.format(seconds)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(job)
        return job

    yield begin
    for job in started:
        job.kill()
        job.communicate()


def test_concurrent_jobs_get_distinct_gpus(start):
    two = start(2)
    assert two.stdout.readline() == "4,5\n"
    one = start(1)
    assert one.stdout.readline() == "6\n"

    late = start(2, 0)
    said = late.stderr.readline()
    assert said.startswith("thinktuning: waiting for 2 of 3 GPUs; to see what uses them: fuser /")
    assert said.endswith("thinktuning-gpu-machine-6.lock\n")
    one.send_signal(signal.SIGKILL)  # one is free: not enough, and must not be held
    one.wait()
    single = start(1, 0)
    assert single.stdout.readline() == "6\n"
    assert single.wait() == 0
    assert late.poll() is None
    two.send_signal(signal.SIGKILL)
    assert late.stdout.readline() == "4,5\n"
    assert late.wait() == 0


def test_a_machine_with_too_few_gpus_is_refused(start):
    job = start(4)
    _, said = job.communicate()
    assert job.returncode == 1
    assert said.startswith(
        "thinktuning: the job requests 4 GPUs (`gpu` in the study's `resources`)"
    )
    assert "sees 3;" in said


@pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles"])
def test_a_slurm_job_without_gpus_has_none(start, hidden):
    job = start(1, CUDA_VISIBLE_DEVICES=hidden, SLURM_JOB_ID="7")
    assert "requests 1 GPUs" in job.communicate()[1]
    assert job.returncode == 1
    assert start(0, CUDA_VISIBLE_DEVICES=hidden).stdout.readline() == "\n"


def test_a_job_without_gpus_sees_none(start):
    assert start(0).stdout.readline() == "\n"


def test_locks_are_open_to_all_users(start, tmp_path):
    """Whatever the umask; any other obstacle is reported."""
    before = os.umask(0o077)
    try:
        assert start(1).stdout.readline() == "4\n"
    finally:
        os.umask(before)
    (lock,) = tmp_path.glob("*.lock")
    assert lock.stat().st_mode & 0o777 == 0o666
    (tmp_path / "thinktuning-gpu-machine-5.lock").mkdir()
    _, said = start(2).communicate()
    assert "-5.lock: cannot be locked (Is a directory); remove it, or set TMPDIR" in said


def test_slurm_jobs_do_not_compete_for_gpus(start):
    """Two jobs on a node may each call their own GPU 0, since SLURM hides the others."""
    given = {"CUDA_VISIBLE_DEVICES": "0"}
    first, second = (start(1, SLURM_JOB_ID=number, **given) for number in "78")
    assert first.stdout.readline() == second.stdout.readline() == "0\n"
    # jobs that Snakemake runs within one allocation share its GPUs
    inside = {"SLURM_JOB_ID": "9", "CUDA_VISIBLE_DEVICES": "0,1"}
    first, second = start(1, **inside), start(1, **inside)
    assert {first.stdout.readline(), second.stdout.readline()} == {"0\n", "1\n"}
