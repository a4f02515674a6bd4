"""The warm-up in the workflow: it makes `base` from `raw`, and waits for the data that it reads."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from snakemake_run import DEFAULT, planned, snakemake, stand_in, write_study

from thinktuning.models.config import DocumentsConfig

DOCUMENTS = {key: DEFAULT["model"][key] for key in DocumentsConfig.model_fields}
WARMUP = {"max_steps": 10, "learning_rate": 1e-4, "batch_size": 4, "max_length": 100}


@pytest.fixture
def warm(small: dict[str, Any]) -> dict[str, Any]:
    """The small study on a model in a directory, with a warm-up on worked answers."""
    small["model"] = {"source": "path", "path": "model"}
    small["warmup"] = dict(WARMUP)
    return small


def test_a_warm_up_makes_the_base_from_the_raw_model(tmp_path: Path, warm: dict[str, Any]) -> None:
    study = write_study(tmp_path, warm)
    found = planned(tmp_path, "--configfile", study)
    assert (found["model"], found["resolve_warmup"], found["warmup"]) == (1, 1, 1)
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", study)
    assert "--output results/models/raw" in done.stdout
    assert "--model results/models/raw --data results/data --output" in done.stdout
    del warm["warmup"]
    assert "warmup" not in planned(tmp_path, "--configfile", write_study(tmp_path, warm))


@pytest.mark.parametrize("documents", [None, DOCUMENTS])
def test_a_warm_up_waits_for_the_questions_that_it_reads(
    tmp_path: Path, warm: dict[str, Any], documents: dict[str, Any] | None
) -> None:
    """Worked answers are those to training questions; documents exclude evaluation questions."""
    warm["tasks"]["other"] = copy.deepcopy(warm["tasks"]["chain_sum"])
    warm["tasks"]["other"]["data"]["seed"] += 1000
    warm["warmup"]["documents"] = documents
    done = snakemake(tmp_path, "--dry-run", "--configfile", write_study(tmp_path, warm))
    (needed,) = re.findall(r"^rule warmup:\n    input: (.*)$", done.stdout, re.M)
    read = [name for name in needed.split(", ") if name.startswith("results/data/")]
    evaluation = ["results/data/eval/chain_sum.jsonl", "results/data/eval/other.jsonl"]
    assert read == (evaluation if documents else ["results/data/train.jsonl"])


def test_a_change_of_the_documents_warms_up_again(tmp_path: Path, warm: dict[str, Any]) -> None:
    """And with it trains and evaluates everything, but fetches the model and the data once."""
    (tmp_path / "model").mkdir()
    warm["warmup"]["documents"] = DOCUMENTS
    study = write_study(tmp_path, warm)
    stand_in(tmp_path, study, "warmup")
    changed = copy.deepcopy(warm)
    changed["warmup"]["documents"] = DOCUMENTS | {"max_terms": 9}
    found = planned(tmp_path, "--configfile", write_study(tmp_path, changed, "changed.yaml"))
    assert (found["warmup"], found["train"], found["evaluate"]) == (1, 4, 6)
    assert not {"model", "data"} & found.keys()


@pytest.mark.slow
def test_the_workflow_warms_up_on_documents(
    tmp_path: Path, warm: dict[str, Any], tiny_model_dir: Path
) -> None:
    """To the end, in the study's directory, and once."""
    warm["model"]["path"] = str(tiny_model_dir)
    warm["warmup"] |= {"documents": DOCUMENTS, "max_length": 500, "max_steps": 2}
    warm["tasks"]["chain_sum"]["data"]["size"] = 5
    study = write_study(tmp_path, warm)
    done = snakemake(tmp_path, "results/models/base", "--cores", "1", "--configfile", study)
    assert done.returncode == 0, done.stdout + done.stderr
    base = tmp_path / "results/models/base"
    assert (base / "model.safetensors").is_file() and (base / "chat_template.jinja").is_file()
    made = json.loads((base / "provenance.json").read_text())
    assert made["warmup"]["documents"] == DOCUMENTS
    assert made["measured"]["num_problems"] == 200
    assert "warmup" not in planned(tmp_path, "results/models/base", "--configfile", study)
