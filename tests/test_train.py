"""The train stage: what it writes, and that an interrupted run repeats the uninterrupted one."""

import json
import re
import shutil

import pytest
import yaml
from openai_server import Server, error, reply
from safetensors.torch import load_file

from thinktuning.config import load_study, parse_study
from thinktuning.errors import StudyError
from thinktuning.files import read_jsonl, write_jsonl
from thinktuning.train import build_trainer, train


@pytest.fixture
def job(likely_eos, tmp_path, request):
    """A resolved run of six rollout batches on the tiny model, its model and its data."""
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
    # four prompts a batch of 12 questions: two epochs, so that resuming crosses into one
    data = tmp_path / "train.jsonl"
    rows = [{"id": f"q{i}", "question": f"What is {i}+1?", "answer": str(i + 1)} for i in range(12)]
    write_jsonl(data, rows)

    def resolve(teacher=None, **overrides):
        changed = study | {"training": study["training"] | overrides}
        changed["teacher"] = study["teacher"] | (teacher or {})
        return parse_study(changed, "test").run_config("thinktuning", 0)

    return resolve, likely_eos, data


def solve(body, _=None):
    """Give feedback that ends in the right answer to `What is N+1?`."""
    number = int(re.search(r"What is (\d+)\+1", body["messages"][-1]["content"])[1])
    return 200, reply(
        "<opinion>incorrect</opinion><reason>Wait.</reason>"
        f"<phrase>So \\boxed{{{number + 1}}}</phrase>"
    )


@pytest.fixture
def tutor():
    """Teacher settings for a server that solves: the tiny model itself never earns a reward."""
    with Server(solve) as server:
        endpoint = {"base_url": server.url, "model": "tutor"}
        yield {"backend": "openai", "openai": endpoint}, server


def changed_weights(model_dir, run_dir):
    """Names of the weights that training changed by more than its weight decay."""
    base = load_file(model_dir / "model.safetensors")
    trained = load_file(run_dir / "model" / "model.safetensors")
    assert base.keys() == trained.keys()
    return {name for name in base if (base[name] - trained[name]).abs().max() > 1e-5}


def test_outputs(job, tmp_path):
    resolve, model, data = job
    output = tmp_path / "run"
    train(resolve(), model, data, output)
    assert {path.name for path in output.iterdir()} == {
        "model",
        "metrics.jsonl",
        "rollouts.jsonl",
        "provenance.json",
    }
    metrics = list(read_jsonl(output / "metrics.jsonl"))
    assert [row["rollout_batch"] for row in metrics] == [1, 2, 3, 4, 5, 6]
    needed = {"student_reward", "reward", "gamma", "num_taught", "num_unparsed", "reflection_rate"}
    needed |= {"grad_norm", "time_generation", "time_update", "wrong_to_right", "student_length"}
    assert all(needed <= row.keys() for row in metrics)
    assert all(row["num_rollouts"] == 16 for row in metrics)
    rollouts = list(read_jsonl(output / "rollouts.jsonl"))
    assert len(rollouts) == 6 * 2
    provenance = json.loads((output / "provenance.json").read_text())
    assert provenance["seed"] == 0 and provenance["versions"]["trl"]
    tokens = sum(row["student_length"] * row["num_rollouts"] for row in metrics)
    assert provenance["num_generated_tokens"] == pytest.approx(tokens)
    assert "tokenizer_config.json" in {path.name for path in (output / "model").iterdir()}


def test_lora_publishes_a_plain_model(job, tmp_path, tutor):
    from transformers import AutoModelForCausalLM

    resolve, model, data = job
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    run = resolve(lora=lora, learning_rate=1e-2, teacher=tutor[0])
    train(run, model, data, tmp_path / "run")
    published = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert "tokenizer_config.json" in published
    assert not any("adapter" in name for name in published)
    changed = changed_weights(model, tmp_path / "run")
    assert changed and all("proj" in name for name in changed)
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")


def test_a_teacher_with_a_model_of_its_own(job, tmp_path):
    """Its weights are part of the job: a checkpoint made with others is not resumed."""
    resolve, model, data = job
    teacher = {"backend": "model", "model": {"source": "path", "path": "elsewhere"}}
    with pytest.raises(StudyError, match="name the directory of that model"):
        train(resolve(teacher=teacher), model, data, tmp_path / "run")
    train(resolve(teacher=teacher), model, data, tmp_path / "run", model)
    metrics = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    itself = tmp_path / "itself"
    train(resolve(), model, data, itself)
    # the same weights in either place: the same teacher
    for row, same in zip(metrics, read_jsonl(itself / "metrics.jsonl"), strict=True):
        assert row["teacher_tokens"] == same["teacher_tokens"]
        assert row["loss"] == same["loss"]


def test_a_teacher_behind_a_server(job, tmp_path, tutor):
    resolve, model, data = job
    settings, server = tutor
    train(resolve(teacher=settings), model, data, tmp_path / "run")
    asked = [body["messages"] for _, body in server.requests]
    metrics = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert sum(row["num_asked"] for row in metrics) == len(asked) > 0
    assert all(row["teacher_tokens"] == 3 * row["num_asked"] for row in metrics)
    assert all(chat[0]["content"] == "You are a tutor." for chat in asked)
    assert sum(row["wrong_to_right"] for row in metrics) > 0
    assert changed_weights(model, tmp_path / "run")


def test_a_server_that_stays_away_stops_the_run_which_resumes(job, tmp_path, tutor):
    resolve, model, data = job
    run = resolve(teacher=tutor[0])
    train(run, model, data, tmp_path / "whole")
    seen = len(tutor[1].requests)

    def away(body, number):
        return (503, error("busy")) if number >= seen else solve(body)

    with Server(away) as server:
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


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("interrupted_at", [4, 9])
def test_an_interrupted_run_repeats_the_uninterrupted_one(
    job, tmp_path, monkeypatch, tutor, interrupted_at
):
    from transformers import TrainerCallback

    import thinktuning.train as stage

    resolve, model, data = job
    run = resolve(teacher=tutor[0])
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(run, model, data, whole)
    assert changed_weights(model, whole)

    class Interrupt(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == interrupted_at + 1:
                raise Interrupted

    built = stage.build_trainer

    def interrupted(*args):
        trainer = built(*args)
        trainer.add_callback(Interrupt())
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(stage, "build_trainer", interrupted)
        with pytest.raises(Interrupted):
            train(run, model, data, resumed)
    assert not (resumed / "model").exists(), "an interrupted run must not look finished"
    checkpoint = max(interrupted_at // 4 * 4, 4)
    assert (resumed / "checkpoints" / f"checkpoint-{checkpoint}").exists()
    # a save that a kill cut short is passed over
    shutil.copytree(
        resumed / "checkpoints" / f"checkpoint-{checkpoint}",
        resumed / "checkpoints" / "checkpoint-99",
    )
    (resumed / "checkpoints" / "checkpoint-99" / "trainer_state.json").unlink()

    train(run, model, data, resumed)
    name = "model/model.safetensors"
    weights, expected = load_file(resumed / name), load_file(whole / name)
    assert all((weights[key] == expected[key]).all() for key in expected)

    def deterministic(path):
        volatile = ("time", "step_time", "num_tokens", "epoch")
        return [
            {key: value for key, value in row.items() if not key.startswith(volatile)}
            for row in read_jsonl(path / "metrics.jsonl")
        ]

    assert deterministic(resumed) == deterministic(whole)
    rollouts = "rollouts.jsonl"
    assert (resumed / rollouts).read_text() == (whole / rollouts).read_text()


def test_a_checkpoint_of_another_configuration_is_not_resumed(job, tmp_path):
    from thinktuning.train import fingerprint, prepare_checkpoints

    resolve, model, data = job
    directory = tmp_path / "checkpoints"
    one = fingerprint(resolve(), [model], data)
    other = fingerprint(resolve(learning_rate=1e-5), [model], data)
    assert prepare_checkpoints(directory, one) is None
    saved = directory / "checkpoint-4"
    saved.mkdir()
    (saved / "trainer_state.json").write_text("{}")
    assert prepare_checkpoints(directory, one) == str(saved)
    assert prepare_checkpoints(directory, other) is None
    assert not saved.exists()


def test_one_process_with_several_gpus(job, tmp_path, monkeypatch):
    resolve, model, data = job
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    with pytest.raises(StudyError, match=r"sees 8 GPUs: show it one \(CUDA_VISIBLE_DEVICES=0\)"):
        train(resolve(), model, data, tmp_path / "run")


def test_too_few_questions(job, tmp_path):
    resolve, model, data = job
    write_jsonl(data, list(read_jsonl(data))[:3])
    with pytest.raises(StudyError, match="3 questions, fewer than the 4 prompts"):
        train(resolve(), model, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_budgets_over_the_models_positions(job, tmp_path):
    resolve, model, data = job
    with pytest.raises(StudyError, match=r"200 \+ 900 exceed the 1024 positions"):
        train(resolve(max_completion_length=900), model, data, tmp_path / "run")
    run = resolve(max_completion_length=800)
    teacher = run.teacher.model_copy(update={"max_completion_length": 200})
    with pytest.raises(StudyError, match=r"the teacher's longest prompt.* \+ 800 \+ 200 exceed"):
        train(run.model_copy(update={"teacher": teacher}), model, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_prompt_over_the_budget(job, tmp_path):
    resolve, model, data = job
    with pytest.raises(StudyError, match=r"question 'q.*max_prompt_length = 20"):
        train(resolve(max_prompt_length=20), model, data, tmp_path / "run")


def test_a_server_for_rollouts_that_is_not_there(monkeypatch, tmp_path, request):
    def refuse(**_):
        raise ConnectionError("The vLLM server can't be reached at http://x")

    monkeypatch.setattr("thinktuning.trainer.ThinkTuningTrainer", refuse)
    monkeypatch.setattr("thinktuning.rewards.BoxedReward", lambda *_: None)
    monkeypatch.setattr("thinktuning.teacher.eos_ids", lambda *_: [])
    run = load_study(request.config.rootpath / "config.yaml").run_config("grpo", 0)
    rows = [{"prompt": "1 + 1 =", "question": "1 + 1 =", "answer": "2"}]
    with pytest.raises(StudyError, match=r"training.vllm.server_base_url: .* can't be reached"):
        build_trainer(run, None, None, rows, None, None, tmp_path)
