"""vLLM's real engine on a CPU, compared with transformers: `make test-vllm` runs it in .venv-vllm.

Not covered on a CPU: CUDA, server mode's weight sync (NCCL), several GPUs.
"""

import math

import pytest
import torch
import yaml
from extras import needs
from openai_server import Server, solve
from processes import environment, run
from transformers import AutoTokenizer
from vllm_on_cpu import ENGINE, prepare

from thinktuning.commands.evaluate import Evaluation, evaluate, evaluate_tasks
from thinktuning.commands.train import train
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, write_jsonl
from thinktuning.study.jobs import to_json
from thinktuning.study.reading import load_study, parse_study
from thinktuning.trainer.trainer import ThinkTuningTrainer

pytestmark = [pytest.mark.slow, needs("vllm")]


@pytest.fixture(scope="module", autouse=True)
def engine():
    prepare()


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [{"id": f"q{i}", "question": f"What is {i}+1?", "answer": str(i + 1)} for i in range(8)]
    write_jsonl(path, rows)
    return path


def test_vllm_evaluates_as_transformers_does(lively, data, tmp_path, request, monkeypatch):
    import vllm.envs

    study = load_study(request.config.rootpath / "config.yaml")
    job = study.evaluate_job("zero_shot", None, "chain_sum")
    monkeypatch.delenv("VLLM_USE_FLASHINFER_SAMPLER", raising=False)
    kept = {}
    for backend in ("hf", "vllm"):
        changes = {"backend": backend, "temperature": 0, "max_gen_toks": 40}
        if backend == "vllm":
            changes["model_args"] = ENGINE | {"max_model_len": 512}
        evaluation = job.evaluation.model_copy(update=changes)
        one = job.model_copy(update={"num_samples": 1, "evaluation": evaluation})
        evaluate(one, lively, data, tmp_path / backend)
        kept[backend] = list(read_jsonl(tmp_path / backend / "samples.jsonl"))
    for expected, row in zip(kept["hf"], kept["vllm"], strict=True):
        # vLLM omits the bytes of a character that the limit splits
        assert row.pop("text").rstrip("\ufffd") == expected.pop("text").rstrip("\ufffd")
        assert row == expected
    assert {row["finish_reason"] for row in kept["hf"]} == {"stop", "length"}
    assert not vllm.envs.VLLM_USE_FLASHINFER_SAMPLER  # on a GPU it would be compiled


def test_a_task_has_the_same_answers_alone_and_after_another(lively, data, tmp_path, request):
    """Although the tasks share the engine, whose generator goes on."""
    study = load_study(request.config.rootpath / "config.yaml")
    job = study.evaluate_job("zero_shot", None, "chain_sum")
    changes = {"backend": "vllm", "model_args": ENGINE | {"max_model_len": 512}}
    changes |= {"batch_size": "auto", "max_gen_toks": 40}
    job = job.model_copy(update={"evaluation": job.evaluation.model_copy(update=changes)})
    other = job.model_copy(update={"task": "other", "num_samples": 1})
    after = Evaluation(job, data, tmp_path / "after")
    evaluate_tasks([Evaluation(other, data, tmp_path / "other"), after], lively)
    evaluate(job, lively, data, tmp_path / "alone")
    alone, found = (
        [row["text"] for row in read_jsonl(tmp_path / name / "samples.jsonl")]
        for name in ("alone", "after")
    )
    assert alone == found and len(set(alone)) > len(alone) / 2


@pytest.fixture
def study(request):
    values = yaml.safe_load((request.config.rootpath / "config.yaml").read_text())
    values["training"] |= {
        "max_steps": 4,
        "save_steps": 2,
        "warmup_steps": 0,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_prompt_length": 100,
        "max_completion_length": 48,
        "rollouts_per_step": 16,
        "vllm": {"max_model_length": 256},
    }
    return values


def test_training_with_rollouts_from_vllm_and_feedback(
    likely_eos, data, tmp_path, study, monkeypatch
):
    batches = []
    score = ThinkTuningTrainer._generate_and_score_completions

    def recorded(trainer, inputs):
        output = score(trainer, inputs)
        batches.append((output, trainer.batch.taught))
        return output

    monkeypatch.setattr(ThinkTuningTrainer, "_generate_and_score_completions", recorded)
    with Server(solve) as server:
        study["teacher"] |= {"backend": "openai", "max_completion_length": 16}
        study["teacher"]["openai"] = {"base_url": server.url, "model": "tutor"}
        job = parse_study(study, "test").train_job("thinktuning", 0)
        train(job, likely_eos, data, tmp_path / "run")
    metrics = list(read_jsonl(tmp_path / "run/metrics.jsonl"))
    assert [row["rollout_batch"] for row in metrics] == [1, 2]
    assert metrics[0]["num_taught"] > 0 and metrics[0]["spliced_reward"] == 1
    for row in metrics:
        assert math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])
        assert 0 < row["sampling_logp_difference"] < 1e-3
        # the student's own tokens only: in float32 the two engines agree
        assert row["sampling/sampling_logp_difference/max"] < 1e-3
    for output, lessons in batches:  # only the teacher's tokens have no sampling log-probability
        for i, absent in enumerate(output["sampling_per_token_logps"].isnan()):
            end = int(output["completion_mask"][i].sum())
            start = lessons[i].start if i in lessons else end
            assert absent.nonzero().flatten().tolist() == list(range(start, end))
    taught = [row for row in read_jsonl(tmp_path / "run/rollouts.jsonl") if row["taught"]]
    assert all(row["text"].startswith(row["student_text"]) for row in taught)


def test_the_correction_can_be_off(likely_eos, data, tmp_path, study, monkeypatch):
    """As in the released recipe: no token is weighted by how unlike vLLM sampled it."""
    batches = []
    score = ThinkTuningTrainer._generate_and_score_completions

    def recorded(trainer, inputs):
        batches.append(score(trainer, inputs))
        return batches[-1]

    monkeypatch.setattr(ThinkTuningTrainer, "_generate_and_score_completions", recorded)
    study["training"]["vllm"] |= {"importance_sampling_correction": False}
    with Server(solve) as server:
        study["teacher"] |= {"backend": "openai", "max_completion_length": 16}
        study["teacher"]["openai"] = {"base_url": server.url, "model": "tutor"}
        job = parse_study(study, "test").train_job("thinktuning", 0)
        train(job, likely_eos, data, tmp_path / "run")
    metrics = list(read_jsonl(tmp_path / "run/metrics.jsonl"))
    assert metrics[0]["num_taught"] > 0
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in metrics[:1])
    assert not any("importance_sampling_ratio" in batch for batch in batches)
    assert not any(name.startswith("sampling/") for row in metrics for name in row)
    assert all(0 < row["sampling_logp_difference"] < 1e-3 for row in metrics)  # still compared


@pytest.mark.parametrize("method", ["grpo", "thinktuning"])
def test_an_engine_with_other_weights_stops_the_training(
    likely_eos, data, tmp_path, study, monkeypatch, method
):
    """The weights change and do not reach the engine, as with a broken sync."""
    import thinktuning.commands.train as stage

    built = stage.build_trainer

    def stale(*args):
        trainer = built(*args)
        perturb(trainer.model)
        trainer.vllm_generation.sync_weights = lambda: None
        return trainer

    monkeypatch.setattr(stage, "build_trainer", stale)
    study["training"]["vllm"] |= {"importance_sampling_correction": False}
    study["algorithm"]["schedule"]["cutoff"] = None
    with Server(solve) as server:
        study["teacher"] |= {"backend": "openai", "max_completion_length": 16}
        study["teacher"]["openai"] = {"base_url": server.url, "model": "tutor"}
        job = parse_study(study, "test").train_job(method, 0)
        with pytest.raises(StudyError, match="other log-probabilities in the trainer") as error:
            train(job, likely_eos, data, tmp_path / "run")
    assert "over max_logp_difference = 0.1" in str(error.value)
    assert not (tmp_path / "run/model").exists()


def perturb(model):
    """Add noise to every weight."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for weight in model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)


def test_training_seeds_sample_differently(lively, tmp_path, study):
    """Although the engine resets the seed of the process that starts it."""
    data = tmp_path / "questions.jsonl"
    write_jsonl(data, [{"id": f"q{i}", "question": "What?", "answer": "4"} for i in range(4)])
    study["training"]["max_steps"] = 2
    texts = []
    for seed in (0, 1):
        job = parse_study(study, "test").train_job("grpo", seed)
        train(job, lively, data, tmp_path / str(seed))
        texts.append([row["text"] for row in read_jsonl(tmp_path / f"{seed}/rollouts.jsonl")])
    assert len(set(texts[0])) > 1
    assert not set(texts[0]) & set(texts[1])


@pytest.mark.parametrize("model", ["likely_eos", "lively"])
def test_changed_weights_reach_vllm(model, data, tmp_path, study, monkeypatch, request):
    """After a perturbation and a sync, both engines give the same log-probabilities.

    The head of `lively` is tied to its embedding, so there a sync that skips it goes unnoticed.
    """
    import thinktuning.commands.train as stage

    directory = request.getfixturevalue(model)
    seen = {}

    def keep(trainer):
        seen["trainer"] = trainer
        raise KeyboardInterrupt

    built = stage.build_trainer
    monkeypatch.setattr(stage, "build_trainer", lambda *args: keep(built(*args)))
    job = parse_study(study, "test").train_job("grpo", 0)
    with pytest.raises(KeyboardInterrupt):
        train(job, directory, data, tmp_path / "run")
    trainer = seen["trainer"]
    assert trainer.model.config.tie_word_embeddings == (model == "lively")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    prompt = tokenizer("What is 1+1?", add_special_tokens=False).input_ids
    before = logprobs_of(trainer, prompt)
    perturb(trainer.model)
    trainer.vllm_generation.sync_weights()
    after = logprobs_of(trainer, prompt)
    with torch.no_grad():
        logits = trainer.model(torch.tensor([prompt])).logits[0, :-1]
    chosen = torch.tensor(prompt[1:]).unsqueeze(1)
    expected = logits.log_softmax(-1).gather(1, chosen).squeeze(1)
    assert (after - before).abs().max() > 0.1
    torch.testing.assert_close(after, expected, atol=1e-4, rtol=0)


def test_sharded_weights_reach_the_engine_of_each_process(likely_eos, data, tmp_path, study):
    """As in studies/llama3.yaml: FSDP2, and an engine next to the trainer in each process."""
    with Server(solve) as server:
        study["teacher"] |= {"backend": "openai"}
        study["teacher"]["openai"] = {"base_url": server.url, "model": "tutor"}
        study["training"] |= {"max_steps": 8, "learning_rate": 1e-2, "loss_type": "dapo"}
        study["training"]["per_device_train_batch_size"] = 4
        study["algorithm"]["schedule"]["kind"] = "constant"
        job = parse_study(study, "test").train_job("thinktuning", 0)
        (tmp_path / "config.json").write_text(to_json(job))
        stage = ["-m", "thinktuning.commands.cli", "train", "--config", "config.json"]
        stage += ["--model", likely_eos, "--data", data, "--output", "run"]
        on_cpu = environment() | {"THINKTUNING_VLLM_ON_CPU": "1"}
        done = run("fsdp2", 2, *stage, cwd=tmp_path, env=on_cpu)
    assert done.returncode == 0, done.stderr
    metrics = list(read_jsonl(tmp_path / "run/metrics.jsonl"))
    assert len(metrics) == 4 and all(row["grad_norm"] > 0 for row in metrics[:2])
    for row in metrics:  # sampled with the current weights, which are far from the initial ones
        assert row["sampling/sampling_logp_difference/max"] < 1e-3
        assert 0 < row["sampling_logp_difference"] < 1e-3


def logprobs_of(trainer, prompt):
    """Return vLLM's log-probability of each token of the prompt except the first."""
    from vllm import SamplingParams, TokensPrompt

    sampling = SamplingParams(max_tokens=1, prompt_logprobs=0, temperature=1.0)
    llm = trainer.vllm_generation.llm
    llm.reset_prefix_cache()
    (output,) = llm.generate([TokensPrompt(prompt_token_ids=prompt)], sampling, use_tqdm=False)
    pairs = zip(prompt[1:], output.prompt_logprobs[1:], strict=True)
    return torch.tensor([found[token].logprob for token, found in pairs])
