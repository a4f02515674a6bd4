import os
import signal
import subprocess
import sys

import pytest

SHOW = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep({})"


@pytest.fixture
def start(tmp_path):
    """Start a job on so many of the GPUs 4, 5 and 6; it prints which, and stays for `seconds`."""
    started = []

    def begin(number, seconds=60, **variables):
        environment = {k: v for k, v in os.environ.items() if k != "SLURM_JOB_ID"}
        environment |= {"CUDA_VISIBLE_DEVICES": "4,5,6", "TMPDIR": str(tmp_path)} | variables
        command = [sys.executable, "-m", "thinktuning.gpus", str(number)]
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


def test_jobs_have_gpus_of_their_own(start):
    two = start(2)
    assert two.stdout.readline() == "4,5\n"
    one = start(1)
    assert one.stdout.readline() == "6\n"

    late = start(2, 0)
    assert late.stderr.readline() == ("thinktuning: waiting for 2 free GPUs of ['4', '5', '6']\n")
    one.send_signal(signal.SIGKILL)  # one is free, which is not enough and must not be kept
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
        "thinktuning: the job asks for 4 GPUs (`gpu` in the study's `resources`)"
    )
    assert "this machine has 3" in said


def test_a_job_of_slurm_keeps_the_gpus_that_it_was_given(start):
    """Two jobs on a node each call theirs 0, where SLURM hides the others."""
    given = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0"}
    first, second = start(1, **given), start(1, **given)
    assert first.stdout.readline() == second.stdout.readline() == "0\n"
    # an allocation of four, in which Snakemake runs its jobs itself
    inside = given | {"CUDA_VISIBLE_DEVICES": "0,1"}
    first, second = start(1, **inside), start(1, **inside)
    assert {first.stdout.readline(), second.stdout.readline()} == {"0\n", "1\n"}
