"""Checks of one part: each is recorded, failed or not, as soon as it is done."""

import contextlib
import gc
import io
import json
import time
import traceback
from pathlib import Path

import torch

SHOWN = 3000  # characters of a traceback or of a process's output


class Checks:
    """Runs checks and writes what they return to a JSON file after each.

    Attributes:
        device: "cuda", or "cpu" where there is no GPU; then `small` sizes are to be used.
        results: of a finished default study: its questions and its base model.
        directory: to work in.
    """

    def __init__(self, name, path, results, directory):
        self.path, self.results, self.directory = Path(path), Path(results), Path(directory)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.small = self.device == "cpu"
        self.found = {"part": name, "device": device_name(), "checks": {}}
        self.write()

    def run(self, name, check, *args, **kwargs):
        """Run a check and record what it returns; an exception is recorded, and the rest goes on.

        A check fails if it raises, or if it returns a mapping whose `ok` is false.
        """
        started = time.perf_counter()
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                result = check(*args, **kwargs)
            ok = bool(result.get("ok", True)) if isinstance(result, dict) else True
            entry = {"ok": ok, "result": result}
        except Exception:  # whatever it is, the other checks are worth running
            entry = {"ok": False, "error": traceback.format_exc()[-SHOWN:]}
        entry["seconds"] = round(time.perf_counter() - started, 2)
        self.found["checks"][name] = entry
        self.write()
        print(f"{'ok    ' if entry['ok'] else 'FAILED'} {name} ({entry['seconds']} s)", flush=True)
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        return entry.get("result") if entry["ok"] else None

    def write(self):
        """Write everything so far, in one piece."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.found, indent=1, default=str))
        partial.replace(self.path)


def device_name():
    """Return the GPU's name, or that there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: CPU, small sizes"


def relative(a, b):
    """Return the largest difference of two tensors, relative to the second's largest value."""
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))
