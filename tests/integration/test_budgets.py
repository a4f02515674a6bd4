"""Two processes (gloo, CPU) share one token budget: their tokens are summed, and both end."""

import json
from pathlib import Path

import pytest
import yaml
from openai_server import Server, solve
from processes import run

from thinktuning.io.files import read_jsonl, write_jsonl
from thinktuning.study.jobs import to_json
from thinktuning.study.reading import parse_study

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("distributed", ["ddp", "fsdp2"])
def test_the_tokens_of_all_processes_count(likely_eos, tmp_path, distributed):
    rows = [{"id": f"q{i}", "question": f"What is {i}+1?", "answer": str(i + 1)} for i in range(16)]
    write_jsonl(tmp_path / "train.jsonl", rows)
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    study["training"] |= {"max_steps": 16, "save_steps": 2, "warmup_steps": 0, "loss_type": "dapo"}
    study["training"] |= {"per_device_train_batch_size": 4, "num_generations": 4}
    study["training"] |= {"max_prompt_length": 200, "max_completion_length": 48}
    study["training"] |= {"rollouts_per_step": 100, "budget": {"tokens": 500}}
    with Server(solve) as server:
        endpoint = {"base_url": server.url, "model": "tutor"}
        study["teacher"] |= {"backend": "openai", "openai": endpoint}
        job = parse_study(study, "test").train_job("thinktuning", 0)
        (tmp_path / "config.json").write_text(to_json(job))
        stage = ["-m", "thinktuning.commands.cli", "train", "--config", "config.json"]
        stage += ["--model", likely_eos, "--data", "train.jsonl", "--output", "runs/a/seed0"]
        done = run(distributed, 2, *stage, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        num_replies = len(server.requests)
    output = tmp_path / "runs/a/seed0"
    rollouts = list(read_jsonl(output / "rollouts.jsonl"))
    steps = [row["step"] for row in read_jsonl(output / "metrics.jsonl")]
    assert 2 < steps[-1] < 16 and steps == list(range(2, steps[-1] + 2, 2))

    def generated(last):
        found = [r for r in rollouts if r["step"] <= last]
        assert len(found) == 16 * last // 2
        return sum(r["student_length"] + 3 * r["asked"] for r in found)  # 3 tokens a reply

    assert generated(steps[-2]) < 500 <= generated(steps[-1])
    made = json.loads((output / "provenance.json").read_text())
    assert made["num_teacher_tokens"] == 3 * num_replies > 0
    assert made["num_generated_tokens"] + made["num_teacher_tokens"] == generated(steps[-1])
    assert made["budget"]["overshoot"] == {"tokens": generated(steps[-1]) - 500}
    # <|im_start|>user, the question, <|im_end|>, <|im_start|>assistant and two newlines
    prompts = sum(19 + len(r["question"]) for r in rollouts)
    trained = prompts + sum(r["completion_length"] for r in rollouts)
    assert made["num_scored_tokens"] == 2 * trained
