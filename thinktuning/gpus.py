"""Run a command on GPUs that no other such command has:

    python -m thinktuning.gpus 2 thinktuning train ...

SLURM gives its jobs devices of their own. On one machine Snakemake only counts them (`--resources
gpu=8`), and each of its jobs would start on the first. So the command takes a lock for each of its
devices, waits while too few are free, and sees no other (CUDA_VISIBLE_DEVICES). The system drops
the locks when the command ends, however it ends.
"""

import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

WAIT = 2.0  # seconds between two looks


def visible() -> list[str]:
    """Return the devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device.strip() for device in named.split(",") if device.strip()]
    import torch

    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # one order for all commands
    return [str(number) for number in range(torch.cuda.device_count())]


def lock(device: str) -> int | None:
    """Take a device; return its lock file, which the command inherits, or None if it is taken."""
    path = Path(tempfile.gettempdir()) / f"thinktuning-gpu-{device.replace('/', '-')}.lock"
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        file = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    os.set_inheritable(file, True)
    return file


def take(devices: list[str], number: int) -> list[str]:
    """Take so many of the devices, or none."""
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
    """Take so many of the devices, once they are free."""
    held = take(devices, number)
    if not held:
        print(f"thinktuning: waiting for {number} free GPUs of {devices}", file=sys.stderr)
    while not held:
        time.sleep(WAIT)
        held = take(devices, number)
    return held


def main() -> None:
    """Run the command in this process."""
    number, command = int(sys.argv[1]), sys.argv[2:]
    devices = visible()
    if not ("SLURM_JOB_ID" in os.environ and len(devices) <= number):  # else they are its own
        if len(devices) < number:
            sys.exit(
                f"thinktuning: the job asks for {number} GPUs (`gpu` in the study's `resources`),"
                f" and this machine has {len(devices)}; `thinktuning doctor STUDY` looks closer"
            )
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(wait(devices, number))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
