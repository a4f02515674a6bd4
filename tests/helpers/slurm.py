"""A real SLURM for tests: munge, a controller and one daemon per node, all below one directory.

It needs root and Debian's packages `munge slurmctld slurmd slurm-client`, but no systemd, and does
not change system files. All nodes are this machine, with fake GPUs (each a character device).
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = (
    "munged",
    "munge",
    "slurmctld",
    "slurmd",
    "sbatch",
    "srun",
    "squeue",
    "scontrol",
    "scancel",
)
PATH = os.environ["PATH"] + ":/usr/sbin"
MISSING = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire also sets how long a requeued job waits (120 s by default)
AuthInfo=socket={run}/munge/socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.%n.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdLogFile={run}/slurmd.%n.log
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool.%n
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,batch_sched_delay=0
JobRequeue=1
KillWait=2
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
"""
NODE = """\
NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=20000 \
Gres=gpu:fake:2 State=UNKNOWN
"""


@contextlib.contextmanager
def slurm(run: Path, num_nodes: int = 1) -> Iterator[dict[str, str]]:
    """Start SLURM below `run`; yield the environment in which sbatch and squeue find it."""
    nodes = [f"node{i}" for i in range(num_nodes)]
    for name in ("munge", "state", "bin", *(f"spool.{node}" for node in nodes)):
        (run / name).mkdir(mode=0o755, parents=True)
    host = socket.gethostname().split(".")[0]
    devices = [Path("/dev/null"), Path("/dev/zero")]
    (run / "gres.conf").write_text(
        "".join(f"Name=gpu Type=fake File={device}\n" for device in devices)
    )
    conf = run / "slurm.conf"
    conf.write_text(
        CONF.format(host=host, run=run, port=free_port())
        + "".join(NODE.format(name=node, host=host, port=free_port()) for node in nodes)
    )
    # Snakemake's plugin removes SLURM_* from a job's environment, where these need SLURM_CONF.
    for name in ("srun", "scontrol"):
        program = run / "bin" / name
        program.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
    env = os.environ | {"SLURM_CONF": str(conf), "PATH": f"{run / 'bin'}:{PATH}"}
    key = run / "munge/key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    options = [f"--{name}-file={run}/munge/{name}" for name in ("key", "log", "pid", "seed")]
    commands = (
        ["munged", "--force", "--foreground", f"--socket={run}/munge/socket", *options],
        ["slurmctld", "-D", "-c", "-f", str(conf)],
        *(["slurmd", "-D", "-c", "-f", str(conf), "-N", node] for node in nodes),
    )
    daemons = []
    for command in commands:
        with (run / f"{command[0]}.out").open("a") as log:
            daemons.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
    try:
        idle = ("sinfo", "--noheader", "--states=idle", "-o", "%D")
        wait(lambda: output(env, *idle) == str(num_nodes), 30, "SLURM is idle")
        yield env
    finally:
        subprocess.run(["scancel", "--full", "--user=root"], env=env, timeout=20)
        with contextlib.suppress(TimeoutError):
            wait(lambda: not output(env, "squeue", "--noheader"), 15, "no job is left")
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def output(env: dict[str, str], *command: str) -> str:
    """Return what a command prints, without surrounding whitespace."""
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=20
    ).stdout.strip()


def wait(condition, seconds: float, what: str) -> None:
    """Wait until the condition holds, or raise TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds} s not yet: {what}")
        time.sleep(0.1)
