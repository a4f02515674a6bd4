"""The repository's studies, and the default study with one key edited."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from thinktuning.io.errors import StudyError
from thinktuning.study.reading import parse_study

ROOT = Path(__file__).parents[2]
STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
STUDY_OF = {path.stem: path for path in STUDIES}

# The default study, with the values that the tests rely on.
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
DEFAULT["seeds"] = [0, 1, 2]
DEFAULT["training"] |= {"max_steps": 80, "save_steps": 20, "num_generations": 8}
DEFAULT["training"] |= {"per_device_train_batch_size": 96, "steps_per_generation": 2}
DEFAULT["training"] |= {"gradient_accumulation_steps": 1, "num_iterations": 1}
DEFAULT["algorithm"]["schedule"] |= {"kind": "linear", "init": 0.4, "min": 0.05}
DEFAULT["model"] |= {"hidden_size": 128, "num_attention_heads": 4, "min_terms": 3}
TASK = DEFAULT["tasks"]["chain_sum"]
DEFAULT["tasks"] = {"sums": TASK, "long_sums": copy.deepcopy(TASK)}
DEFAULT["tasks"]["long_sums"]["data"]["seed"] += 1000
DEFAULT["methods"] = {
    "zero_shot": {"train": False},
    "zero_shot_reflect": {"train": False, "prompt": {"suffix": " Check your answer."}},
    "grpo": {"label": "GRPO", "algorithm": {"type": "grpo"}},
    "thinktuning": {},
}
OTHER = {"training": {"learning_rate": 1.0e-3}}  # of a method: than the study's
HUB_DATA = {"source": "hub", "repo": "a/b", "revision": "0" * 40, "split": "test"}


def edited(path: str, value: Any) -> dict[str, Any]:
    """Return the default study with one key changed."""
    study = copy.deepcopy(DEFAULT)
    *parents, key = path.split(".")
    section = study
    for parent in parents:
        section = section[parent]
    section[key] = value
    return study


def message(study: Any) -> str:
    """Return the message with which a study is refused."""
    with pytest.raises(StudyError) as refused:
        parse_study(study, "study.yaml")
    return str(refused.value)


def refusal(path: str, value: Any) -> str:
    """Return the one line that says what is wrong with the edited default study."""
    heading, *lines = message(edited(path, value)).split("\n  ")
    assert heading == "study.yaml is not a valid study:"
    assert len(lines) == 1, lines
    return lines[0]
