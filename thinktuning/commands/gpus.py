"""Run a command on GPUs that no other such command uses; with 0 it sees none.

    python -m thinktuning.commands.gpus 2 thinktuning train ...

Snakemake counts a machine's GPUs (`--resources gpu=8`) but assigns none: every job would start on
the first. So the command locks a file per device, waits while too few are free, and sees only its
own devices (CUDA_VISIBLE_DEVICES). The locks are released when it ends, however it ends. Under
SLURM a job only competes for the devices that SLURM gave it.
"""

import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

WAIT = 2.0  # seconds between two attempts


def visible() -> list[str]:
    """Return the devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        devices = [device.strip() for device in named.split(",")]
        return [device for device in devices if device not in ("", "-1", "NoDevFiles")]
    import torch

    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # one order for all commands
    return [str(number) for number in range(torch.cuda.device_count())]


def lock_file(device: str) -> Path:
    """Return a device's lock file, one per SLURM job: each may call its own device 0."""
    job = os.environ.get("SLURM_JOB_ID", "machine")
    return Path(tempfile.gettempdir()) / f"thinktuning-gpu-{job}-{device.replace('/', '-')}.lock"


def lock(device: str) -> int | None:
    """Lock a device; return the open lock file, which the command inherits, or None if taken."""
    path = lock_file(device)
    try:
        file = os.open(path, os.O_RDWR | (0 if path.exists() else os.O_CREAT))
        if os.fstat(file).st_uid == os.getuid():
            os.fchmod(file, 0o666)  # whatever the umask: the machine may have other users
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except OSError as error:
        sys.exit(
            f"thinktuning: {path}: cannot be locked ({error.strerror}); remove it, or set TMPDIR to"
            " a local directory that all users of these GPUs can write to"
        )
    os.set_inheritable(file, True)
    return file


def take(devices: list[str], number: int) -> list[str]:
    """Lock `number` of the devices, or none."""
    held: dict[str, int] = {}
    for device in devices:
        if len(held) < number and (file := lock(device)) is not None:
            held[device] = file
    if len(held) == number:
        return list(held)
    for file in held.values():
        os.close(file)
    return []


def wait(devices: list[str], number: int) -> list[str]:
    """Lock `number` of the devices, as soon as they are free."""
    held = take(devices, number)
    if not held:
        files = " ".join(str(lock_file(device)) for device in devices)
        print(
            f"thinktuning: waiting for {number} of {len(devices)} GPUs; to see what uses them:"
            f" fuser {files}",
            file=sys.stderr,
        )
    while not held:
        time.sleep(WAIT)
        held = take(devices, number)
    return held


def main() -> None:
    """Replace this process with the command."""
    number, command = int(sys.argv[1]), sys.argv[2:]
    devices = visible() if number else []
    if len(devices) < number:
        sys.exit(
            f"thinktuning: the job requests {number} GPUs (`gpu` in the study's `resources`) but"
            f" sees {len(devices)}; check with `thinktuning doctor STUDY`"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(wait(devices, number) if number else [])
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
