"""Stage `model`: write a base, teacher or judge model as a plain Hugging Face directory.

    thinktuning model --config results/models/base.json --data results/data \
        --output results/models/base

The directory holds safetensors, a tokenizer with a chat template, and `provenance.json` with the
source, the versions used and the weights' SHA-256. It is built and checked under another name and
then renamed, so it is complete or absent.

Sources: `organism`, the toy model, is trained here. `path` and `hub` are linked, not copied (the
hub's files stay in its cache), so the original must remain. `package` dequantizes a GGUF file and
saves it as bfloat16, half the size of float32 and, for SmolLM2, within 6e-5 nats per token of it
(KL over 829 tokens). TRL loads it as float32.
"""

import importlib.metadata
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinktuning.evaluation import skills
from thinktuning.io import files
from thinktuning.io.errors import StudyError
from thinktuning.models.checks import check, fix_date, keep_turn_ends
from thinktuning.models.config import Model, OrganismConfig
from thinktuning.models.sources import fetch, label
from thinktuning.teachers.prompts import load

VERSIONS = ("safetensors", "tokenizers", "torch", "transformers")


def materialize(model: Model, data_dir: Path, output: Path) -> None:
    """Write a model into `output`, replacing what was there.

    Args:
        model: the source of the model.
        data_dir: output of stage `data`; the toy model never trains on its evaluation questions.
        output: the directory to write.

    Raises:
        StudyError: the source is incomplete or the disk is full; `output` stays as it was.
    """
    # Fixed names, so that the next job removes what a killed one left.
    partial = output.with_name(f".{output.name}.partial")
    old = output.with_name(f".{output.name}.old")
    try:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        made = build(model, data_dir, output, partial)
        check(partial, label(model))
        keep_turn_ends(partial)
        made |= fix_date(partial, label(model))
        write_provenance(partial, {"source": model.model_dump(), **made}, VERSIONS)
        if output.exists():
            output.rename(old)
        partial.rename(output)
    except Exception as error:
        if files.disk_is_full(error):
            raise files.write_error(output, error) from error
        raise
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)


def build(model: Model, data_dir: Path, output: Path, partial: Path) -> dict[str, Any]:
    """Write the model into `partial`; return what to add to provenance.json."""
    if not isinstance(model, OrganismConfig):
        return fetch(model, output, partial)
    from thinktuning.models import organism

    tutor = load("organism").chat
    made = organism.build(model, evaluation_questions(data_dir), tutor, partial)
    measured = skills.measure(made.model, made.tokenizer, made.probe, tutor)
    return {"measured": {"final_loss": made.final_loss} | measured}


def write_provenance(
    directory: Path, made: Mapping[str, Any], distributions: Sequence[str]
) -> None:
    """Write a model's provenance.json: how it was made, by what versions, and its weights' hashes.

    Args:
        directory: the model.
        made: how it was made.
        distributions: the installed packages whose versions to record.
    """
    versions = {name: importlib.metadata.version(name) for name in distributions}
    weights = {path.name: files.sha256(path) for path in sorted(directory.glob("*.safetensors"))}
    provenance = {**made, "versions": versions, "sha256": weights}
    files.write_text_atomic(directory / "provenance.json", json.dumps(provenance, indent=2) + "\n")


def evaluation_questions(data_dir: Path) -> set[str]:
    """Return the questions of every task in `data_dir`."""
    paths = sorted((data_dir / "eval").glob("*.jsonl"))
    if not paths:
        raise StudyError(
            f"{data_dir}/eval: has no evaluation questions; `thinktuning data` writes them"
        )
    return {row["question"] for path in paths for row in files.read_jsonl(path)}
