"""Training jobs on the tiny model."""

import pytest
import yaml
from openai_server import Server, solve

from thinktuning.io.files import write_jsonl
from thinktuning.study.merging import merge
from thinktuning.study.reading import parse_study


@pytest.fixture
def training(likely_eos, tmp_path, request):
    """Return a function that makes a job of six rollout batches, and the job's model and data."""
    study = yaml.safe_load((request.config.rootpath / "config.yaml").read_text())
    study["training"] |= {
        "max_steps": 12,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_prompt_length": 200,
        "max_completion_length": 48,
        "save_steps": 4,
        "warmup_steps": 2,
        "rollouts_per_step": 2,
    }
    study["teacher"] |= {"max_completion_length": 16}
    # the tiny model as its own teacher never gives feedback that parses
    study["algorithm"]["max_untaught_batches"] = None
    # four prompts per batch and 12 questions: resuming crosses from the first epoch to the second
    data = tmp_path / "train.jsonl"
    rows = [{"id": f"q{i}", "question": f"What is {i}+1?", "answer": str(i + 1)} for i in range(12)]
    write_jsonl(data, rows)

    def resolve(teacher=None, algorithm=None, **overrides):
        settings = study["training"] | overrides
        settings["warmup_steps"] = min(settings["warmup_steps"], settings["max_steps"] - 1)
        changed = study | {"training": settings}
        changed["teacher"] = study["teacher"] | (teacher or {})
        changed["algorithm"] = merge(study["algorithm"], algorithm or {}, ("algorithm",))
        return parse_study(changed, "test").train_job("thinktuning", 0)

    return resolve, likely_eos, data


@pytest.fixture
def tutor():
    """A teacher's server that solves the question: the tiny model itself never earns a reward."""
    with Server(solve) as server:
        endpoint = {"base_url": server.url, "model": "tutor"}
        yield {"backend": "openai", "openai": endpoint}, server
