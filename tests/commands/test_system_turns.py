"""A model whose chat template takes no system turn: what uses none runs, the rest is refused."""

import shutil

import pytest

from thinktuning.algorithms.grpo import GRPOAlgorithmConfig
from thinktuning.commands.evaluate import evaluate
from thinktuning.commands.judge import judge
from thinktuning.commands.model import materialize
from thinktuning.commands.train import train
from thinktuning.commands.warmup import warm_up
from thinktuning.data.config import PromptConfig
from thinktuning.io.errors import StudyError
from thinktuning.io.files import write_jsonl
from thinktuning.models.config import PathModelConfig
from thinktuning.study.jobs import JudgeJob, WarmupJob
from thinktuning.study.reading import load_study

START = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
)
GRPO = GRPOAlgorithmConfig()
KIND = PromptConfig(system="Be kind.")
STEPS = {"max_steps": 2, "save_steps": 2, "max_completion_length": 16}
WARMUP = {"max_steps": 2, "learning_rate": 1e-3, "batch_size": 2, "max_length": 200}


@pytest.fixture
def gemma_like(likely_eos, tmp_path):
    """A model with a template like Gemma 2's, as `thinktuning model` makes it."""
    original = tmp_path / "original"
    shutil.copytree(likely_eos, original)
    path = original / "chat_template.jinja"
    path.write_text(START + path.read_text())
    materialize(PathModelConfig(source="path", path=str(original)), tmp_path, tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def evaluation(request):
    """An evaluation job of few tokens."""
    job = load_study(request.config.rootpath / "config.yaml")
    job = job.evaluate_job("zero_shot", None, "chain_sum")
    short = job.evaluation.model_copy(update={"max_gen_toks": 8})
    return job.model_copy(update={"num_samples": 1, "evaluation": short})


def warmup_job(system, tutor_share):
    """Return a warm-up job; a share of 0 has no tutor."""
    return WarmupJob(
        answer_kind="number",
        prompt={"system": system},
        teacher_prompt="organism",
        behaviors=None,
        warmup=WARMUP | {"tutor_share": tutor_share},
    )


def test_what_uses_no_system_turn_runs(training, tutor, evaluation, gemma_like, tmp_path):
    """GRPO, ThinkTuning taught by another model, evaluation, and a warm-up without tutor."""
    resolve, _, data = training
    taught = resolve(**STEPS, teacher=tutor[0])
    alone = taught.model_copy(update={"algorithm": GRPO})
    for name, job in (("alone", alone), ("taught", taught)):
        train(job, gemma_like, data, tmp_path / name)
        assert (tmp_path / name / "model/model.safetensors").exists()
    evaluate(evaluation, gemma_like, data, tmp_path / "evaluated")
    warm_up(warmup_job(None, 0), gemma_like, tmp_path, tmp_path / "warm")


def test_what_uses_one_is_refused(training, evaluation, gemma_like, tmp_path):
    """The student's prompt, and every teacher, tutor and judge."""
    resolve, model, data = training
    itself = resolve(**STEPS)
    elsewhere = {"backend": "model", "model": {"source": "path", "path": "elsewhere"}}
    other = resolve(**STEPS, teacher=elsewhere)
    polite = itself.model_copy(update={"prompt": KIND, "algorithm": GRPO})
    asked = evaluation.model_copy(update={"prompt": KIND})
    settings = elsewhere | {"prompt": "judge", "num_samples": 1, "max_completion_length": 8}
    judged = JudgeJob(answer_kind="number", judge=settings)
    samples = tmp_path / "samples.jsonl"
    write_jsonl(samples, [{"id": "q0", "sample": 0, "text": "4", "behaviors": []}])
    out = tmp_path / "out"
    for refused in (
        lambda: train(itself, gemma_like, data, out),
        lambda: train(other, model, data, out, gemma_like),
        lambda: train(polite, gemma_like, data, out),
        lambda: evaluate(asked, gemma_like, data, out),
        lambda: warm_up(warmup_job(None, 0.5), gemma_like, tmp_path, out),
        lambda: warm_up(warmup_job("Be kind.", 0), gemma_like, tmp_path, out),
        lambda: judge(judged, samples, data, out, gemma_like),
    ):
        with pytest.raises(StudyError, match="System role not supported; this job's chats"):
            refused()
        assert not out.exists()
