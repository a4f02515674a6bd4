"""The train stage: its outputs, and that an interrupted run reproduces the uninterrupted one."""

import json
import re
import shutil
from dataclasses import fields

import pytest
import torch
from finished_run import untimed
from killed_run import killed_at
from openai_server import Server, error, solve
from safetensors.torch import load_file
from trl import GRPOConfig

from thinktuning.commands.train import build_trainer, train
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, sha256, write_jsonl, write_text_atomic
from thinktuning.study.reading import load_study
from thinktuning.study.vllm import VLLMConfig


def changed_weights(model_dir, run_dir):
    """Return the names of weights that training changed by more than its weight decay."""
    base = load_file(model_dir / "model.safetensors")
    trained = load_file(run_dir / "model" / "model.safetensors")
    assert base.keys() == trained.keys()
    return {name for name in base if (base[name] - trained[name]).abs().max() > 1e-5}


def test_outputs(training, tmp_path):
    resolve, model, data = training
    output = tmp_path / "run"
    write_text_atomic(output / "config.json", "{}")
    train(resolve(), model, data, output)
    assert {path.name for path in output.iterdir()} == {
        "config.json",
        "model",
        "metrics.jsonl",
        "rollouts.jsonl",
        "provenance.json",
    }
    metrics = list(read_jsonl(output / "metrics.jsonl"))
    assert [row["rollout_batch"] for row in metrics] == [1, 2, 3, 4, 5, 6]
    needed = {"student_reward", "reward", "guidance_rate", "num_taught", "num_unparsed"}
    needed |= {"reflection_rate", "wrong_to_right", "student_length", "grad_norm"}
    needed |= {"time_generation", "time_update"}
    assert all(needed <= row.keys() for row in metrics)
    assert all(row["num_rollouts"] == 16 for row in metrics)
    rollouts = list(read_jsonl(output / "rollouts.jsonl"))
    assert len(rollouts) == 6 * 2
    provenance = json.loads((output / "provenance.json").read_text())
    assert (provenance["seed"], provenance["num_processes"]) == (0, 1)
    assert provenance["versions"]["trl"]
    names = ("metrics.jsonl", "rollouts.jsonl", "config.json")
    records = {name: sha256(output / name) for name in names}
    assert provenance["records_sha256"] == records
    tokens = sum(row["student_length"] * row["num_rollouts"] for row in metrics)
    assert provenance["num_generated_tokens"] == pytest.approx(tokens)
    assert "tokenizer_config.json" in {path.name for path in (output / "model").iterdir()}


def test_the_models_generation_config_does_not_act_on_training(training, tutor, tmp_path):
    """`min_p`, `min_new_tokens`, `stop_strings`, ...: TRL overwrites its own arguments alone."""
    resolve, model, data = training
    opinionated = tmp_path / "opinionated"
    shutil.copytree(model, opinionated)
    path = opinionated / "generation_config.json"
    wants = {"min_p": 0.9, "min_new_tokens": 12, "stop_strings": ["e"], "suppress_tokens": [65]}
    path.write_text(json.dumps(json.loads(path.read_text()) | wants))
    runs = []
    for name, base in (("plain", model), ("opinionated", opinionated)):
        train(resolve(max_steps=4, teacher=tutor[0]), base, data, tmp_path / name)
        runs.append(
            (untimed(tmp_path / name), load_file(tmp_path / name / "model/model.safetensors"))
        )
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(runs[0][1][name], runs[1][1][name]) for name in runs[0][1])


def test_a_curriculum_asks_easy_questions_first(training, tmp_path):
    resolve, model, data = training
    settings = {"curriculum": "length", "rollouts_per_step": 16, "learning_rate": 1e-8}
    train(resolve(algorithm={"type": "grpo"}, **settings), model, data, tmp_path / "run")
    rollouts = read_jsonl(tmp_path / "run" / "rollouts.jsonl")
    lengths = [len(rollout["question"]) for rollout in rollouts]
    # four answers each to twice twelve questions, two of which have another digit
    assert lengths == [12] * 4 * 2 * 10 + [13] * 4 * 2 * 2


def test_lora_publishes_a_plain_model(training, tmp_path, tutor):
    from transformers import AutoModelForCausalLM

    resolve, model, data = training
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    job = resolve(lora=lora, learning_rate=1e-2, teacher=tutor[0])
    train(job, model, data, tmp_path / "run")
    published = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert "tokenizer_config.json" in published
    assert not any("adapter" in name for name in published)
    changed = changed_weights(model, tmp_path / "run")
    assert changed and all("proj" in name for name in changed)
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")


@pytest.mark.parametrize("modules", [["q_proj", "lm_head"], ["embed_tokens"], ".*(lm_head|q_proj)"])
def test_an_adapter_on_tied_embeddings_is_refused(training, tiny_model_dir, tmp_path, modules):
    resolve, _, data = training
    job = resolve(lora={"r": 4, "target_modules": modules})
    with pytest.raises(StudyError, match=r"target_modules: (lm_head|model\.embed_tokens) is tied"):
        train(job, tiny_model_dir, data, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        (["q_proj", "v_porj"], "no module of the model is called 'v_porj'; choose from act_fn, "),
        ("q_porj", "no module of the model is called 'q_porj'"),
        (["input_layernorm"], "Target module .* is not supported"),
    ],
)
def test_an_adapter_on_what_cannot_have_one_is_refused(training, tmp_path, modules, reason):
    resolve, model, data = training
    job = resolve(lora={"r": 4, "target_modules": modules})
    with pytest.raises(StudyError, match=f"^training.lora.target_modules: {reason}"):
        train(job, model, data, tmp_path / "run")


def test_an_adapter_elsewhere_trains_a_model_with_tied_embeddings(
    training, tiny_model_dir, tmp_path
):
    resolve, _, data = training
    lora = {"r": 4, "target_modules": ["q_proj"]}
    train(resolve(lora=lora, max_steps=2, save_steps=2), tiny_model_dir, data, tmp_path / "run")
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_a_teacher_with_its_own_model(training, tmp_path):
    """With the base model's weights it is the same teacher as `self`."""
    resolve, model, data = training
    teacher = {"backend": "model", "model": {"source": "path", "path": "elsewhere"}}
    with pytest.raises(StudyError, match="give the model's directory"):
        train(resolve(teacher=teacher), model, data, tmp_path / "run")
    train(resolve(teacher=teacher), model, data, tmp_path / "run", model)
    metrics = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    itself = tmp_path / "itself"
    train(resolve(), model, data, itself)
    for row, same in zip(metrics, read_jsonl(itself / "metrics.jsonl"), strict=True):
        assert row["teacher_tokens"] == same["teacher_tokens"]
        assert row["loss"] == same["loss"]


def test_a_teacher_behind_a_server(training, tmp_path, tutor):
    resolve, model, data = training
    settings, server = tutor
    train(resolve(teacher=settings), model, data, tmp_path / "run")
    asked = [body["messages"] for _, body in server.requests]
    metrics = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert sum(row["num_asked"] for row in metrics) == len(asked) > 0
    assert all(row["teacher_tokens"] == 3 * row["num_asked"] for row in metrics)
    assert all(chat[0]["content"] == "You are a tutor." for chat in asked)
    assert sum(row["wrong_to_right"] for row in metrics) > 0
    assert changed_weights(model, tmp_path / "run")


def test_a_server_that_goes_down_stops_the_run_which_resumes(training, tmp_path, tutor):
    resolve, model, data = training
    job = resolve(teacher=tutor[0])
    train(job, model, data, tmp_path / "whole")
    seen = len(tutor[1].requests)

    def down(body, number):
        return (503, error("busy")) if number >= seen else solve(body)

    with Server(down) as server:
        endpoint = {"base_url": server.url, "model": "tutor", "max_retries": 0}
        failing = resolve(teacher={"backend": "openai", "openai": endpoint})
        with pytest.raises(StudyError, match="does not answer as model 'tutor'"):
            train(failing, model, data, tmp_path / "run")
        assert not (tmp_path / "run" / "model").exists()
        assert list((tmp_path / "run" / "checkpoints").glob("checkpoint-*"))
        server.answer = solve
        train(failing, model, data, tmp_path / "run")
    name = "model/model.safetensors"
    weights, whole = load_file(tmp_path / "run" / name), load_file(tmp_path / "whole" / name)
    assert all((weights[key] == whole[key]).all() for key in whole)


BY_TIME = {"save_steps": None, "save_minutes": 1e-6}
RIVALS = [{"type": kind} for kind in ("rft", "luffy", "critique_grpo")]


def solve_in_the_reason(body, number=None):
    """As `solve`, with the answer in the reason too."""
    status, payload = solve(body, number)
    message = payload["choices"][0]["message"]
    (phrase,) = re.findall("<phrase>(.*)</phrase>", message["content"])
    message["content"] = message["content"].replace("Wait.", phrase)
    return status, payload


@pytest.mark.parametrize(
    ("algorithm", "saving", "interrupted_at", "checkpoint"),
    [
        ({}, {}, 4, 4),
        ({}, {}, 9, 8),
        ({}, BY_TIME, 7, 6),
        ({"type": "dpo"}, {}, 4, 4),
        ({"type": "sdpo"}, {}, 4, 4),
        ({"type": "sdpo", "context": "feedback"}, {}, 4, 4),
        *((each, {}, 4, 4) for each in RIVALS),
    ],
)
def test_an_interrupted_run_reproduces_the_uninterrupted_one(
    training, tmp_path, monkeypatch, tutor, algorithm, saving, interrupted_at, checkpoint
):
    resolve, model, data = training
    if algorithm == {"type": "critique_grpo"}:  # the critique's words earn the reward
        (tmp_path / "refine.yaml").write_text("user: '{question}{response}'\nreply: '{critique} '")
        algorithm = algorithm | {"refinement": str(tmp_path / "refine.yaml")}
        tutor[1].answer = solve_in_the_reason
    job = resolve(teacher=tutor[0], algorithm=algorithm, **saving)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(job, model, data, whole)
    assert changed_weights(model, whole)

    killed_at(interrupted_at + 1, monkeypatch, job, model, data, resumed)
    assert not (resumed / "model").exists(), "an interrupted run must not look finished"
    assert (resumed / "checkpoints" / f"checkpoint-{checkpoint}").exists()
    # an incomplete checkpoint, from a kill while saving, is ignored
    shutil.copytree(
        resumed / "checkpoints" / f"checkpoint-{checkpoint}",
        resumed / "checkpoints" / "checkpoint-99",
    )
    (resumed / "checkpoints" / "checkpoint-99" / "trainer_state.json").unlink()

    train(job, model, data, resumed)
    name = "model/model.safetensors"
    weights, expected = load_file(resumed / name), load_file(whole / name)
    assert all((weights[key] == expected[key]).all() for key in expected)

    assert untimed(resumed) == untimed(whole)
    rollouts = "rollouts.jsonl"
    assert (resumed / rollouts).read_text() == (whole / rollouts).read_text()


def test_several_gpus_in_one_process_are_refused(training, tmp_path, monkeypatch):
    resolve, model, data = training
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    with pytest.raises(StudyError, match="sees 8 GPUs and can use one; set CUDA_VISIBLE_DEVICES=0"):
        train(resolve(), model, data, tmp_path / "run")


def test_too_few_questions_are_refused(training, tmp_path):
    resolve, model, data = training
    write_jsonl(data, list(read_jsonl(data))[:3])
    with pytest.raises(StudyError, match="3 questions, fewer than the 4 prompts"):
        train(resolve(), model, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_token_budgets_over_the_context_length_are_refused(training, tmp_path):
    resolve, model, data = training
    with pytest.raises(StudyError, match=r"200 \+ 900 exceeds .* context length of 1024"):
        train(resolve(max_completion_length=900), model, data, tmp_path / "run")
    job = resolve(max_completion_length=800)
    teacher = job.teacher.model_copy(update={"max_completion_length": 200})
    with pytest.raises(StudyError, match=r"the teacher's longest prompt.* \+ 800 \+ 200 exceeds"):
        train(job.model_copy(update={"teacher": teacher}), model, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_prompt_over_its_budget_is_refused(training, tmp_path):
    resolve, model, data = training
    with pytest.raises(StudyError, match=r"question 'q.*max_prompt_length = 20"):
        train(resolve(max_prompt_length=20), model, data, tmp_path / "run")


def test_a_rollout_server_that_is_down_is_reported(monkeypatch, tmp_path, request):
    def refuse(**_):
        raise ConnectionError("The vLLM server can't be reached at http://x")

    monkeypatch.setattr("thinktuning.trainer.trainer.ThinkTuningTrainer", refuse)
    monkeypatch.setattr("thinktuning.grading.reward.BoxedReward", lambda *_: None)
    monkeypatch.setattr("thinktuning.models.chat.eos_ids", lambda *_: [])
    job = load_study(request.config.rootpath / "config.yaml").train_job("grpo", 0)
    rows = [{"prompt": "1 + 1 =", "question": "1 + 1 =", "answer": "2"}]
    with pytest.raises(StudyError, match=r"training.vllm.server_base_url: .* can't be reached"):
        build_trainer(job, None, None, rows, None, None, tmp_path)


def test_what_a_study_leaves_open_of_vllm_is_trls_default():
    """Only the keys that a study changes are passed on, so the defaults must agree."""
    passed_on = VLLMConfig().model_dump(exclude={"max_logp_difference"})
    ours = {f"vllm_{name}": value for name, value in passed_on.items()}
    theirs = {option.name: option.default for option in fields(GRPOConfig)}
    assert {name: theirs[name] for name in ours} == ours
