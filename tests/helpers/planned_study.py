"""Studies for the planning tests: the default one with changed sections, models, and pilots."""

from pathlib import Path
from typing import Any

import yaml
from transformers import LlamaConfig

from thinktuning.io.files import write_jsonl
from thinktuning.planning.estimates import StageEstimate
from thinktuning.planning.pilot import METRICS
from thinktuning.study.merging import merge
from thinktuning.study.reading import parse_study
from thinktuning.study.study import Study

ROOT = Path(__file__).parents[2]
LLAMA_3B = {  # config.json of meta-llama/Llama-3.2-3B-Instruct
    "vocab_size": 128256,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}
LLAMA_3B_PARAMETERS = 3_212_749_824  # as published


def default_study(**sections: Any) -> Study:
    """Return the default study with keys changed in some sections.

    `model`, `teacher` and sections with a `source` replace the default study's.
    """
    values = yaml.safe_load((ROOT / "config.yaml").read_text())
    for name, settings in sections.items():
        replaced = name in ("model", "teacher") or "source" in settings
        if name == "algorithm":
            values = merge(values, {name: settings})
        else:
            values[name] = settings if replaced else values[name] | settings
    return parse_study(values, "test")


def write_llama_3b(directory: Path) -> dict[str, str]:
    """Write a config.json of three billion parameters; return it as a study's `model`."""
    LlamaConfig(**LLAMA_3B).save_pretrained(directory)
    return {"source": "path", "path": str(directory)}


def write_pilot(directory: Path, method: str, *seeds: tuple[int, ...]) -> None:
    """Write a pilot's metrics.jsonl of each seed: one row of sums, in the order of `METRICS`."""
    for seed, sums in enumerate(seeds):
        path = directory / f"runs/{method}/seed{seed}/metrics.jsonl"
        path.parent.mkdir(parents=True)
        write_jsonl(path, [dict(zip(METRICS, sums, strict=True))])


def of_stage(estimates: list[StageEstimate], stage: str) -> dict[str, StageEstimate]:
    """Return method -> its estimate for a stage."""
    return {estimate.method: estimate for estimate in estimates if estimate.stage == stage}
