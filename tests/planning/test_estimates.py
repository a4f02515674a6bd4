"""Estimates worked by hand: the default study's counts, and a model of billions on GPUs."""

import re

import pytest
from planned_study import LLAMA_3B_PARAMETERS, ROOT, of_stage, write_llama_3b

from thinktuning.data.config import JsonlConfig
from thinktuning.io.errors import StudyError
from thinktuning.planning.costs import GPUS
from thinktuning.planning.estimates import RUNTIME_MB, estimate_study, num_questions
from thinktuning.planning.pilot import num_asked
from thinktuning.planning.plan import resources_block, total
from thinktuning.study.reading import load_study, parse_study


@pytest.fixture
def study():
    return load_study(ROOT / "config.yaml")


def test_counts_of_the_default_study(study):
    estimates = estimate_study(study)
    train, evaluate = of_stage(estimates, "train"), of_stage(estimates, "evaluate")
    assert list(train) == ["grpo", "thinktuning"]
    # 3 seeds x 50 rollout batches x 24 prompts; 8 rollouts each of at most 64 tokens
    assert train["grpo"].jobs == 3
    assert train["grpo"].prompts == 3 * 50 * 24
    assert train["grpo"].student_tokens == 3 * 50 * 24 * 8 * 64
    assert train["grpo"].teacher_tokens == 0
    # 3 tasks x 300 questions x 4 answers, per seed
    assert evaluate["zero_shot"].prompts == 3600
    assert evaluate["grpo"].prompts == 3 * 3600
    assert total(estimates).jobs == 1 + 6 + 8  # an evaluation job asks all tasks


def test_the_teachers_requests_follow_the_schedule(study):
    # the rate decays from 0.4 over 30 batches, cut off at 0.06: of 8 rollouts 3, then 2, then 1
    asked = num_asked(study.train_job("thinktuning", 0))
    rates = [0.4 - 0.35 * t / 30 for t in range(50)]
    assert asked == sum(24 * max(1, int(8 * rate)) for rate in rates[:30] if rate > 0.06)
    assert num_asked(study.train_job("grpo", 0)) == 0


def test_a_model_of_billions_on_gpus(study, tmp_path):
    values = study.model_dump() | {"model": write_llama_3b(tmp_path)}
    values["training"] |= {"gradient_checkpointing": True, "bf16": True}
    one = of_stage(estimate_study(parse_study(values, "test")), "train")["grpo"]
    # weights, gradients and AdamW in float32, weights in bfloat16, and working memory
    assert one.gpu_memory_gb > 18 * 3.2127e9 / 2**30
    # per parameter and token of the update 8 FLOPs, and 2 for the old log-probabilities of one of
    # two optimizer steps; 2 to sample 64 tokens for each rollout, and to read each prompt; the
    # rollouts of a micro-batch share their prompts
    updated, sampled = 192 * 64 + 2 * 24 * 64, 192 * 64 + 24 * 64
    flop = 3 * 50 * (9 * updated + 2 * sampled) * 3.2127e9
    assert one.tflop == pytest.approx(flop / 1e12, rel=1e-3)
    assert one.gpu_hours["H100"] < one.gpu_hours["A100"] < one.gpu_hours["RTX4090"]

    values["resources"]["train"] |= {"gpu": 4, "distributed": "fsdp2"}
    four = parse_study(values, "test")
    estimates = estimate_study(four)
    sharded = of_stage(estimates, "train")["grpo"]
    assert sharded.student_tokens == 4 * one.student_tokens  # the batch size is per process
    assert one.gpu_memory_gb - sharded.gpu_memory_gb == pytest.approx(
        0.75 * 18 * 3.2127e9 / 2**30, rel=0.01
    )
    # each process loads 4 bytes per parameter; one gathers the weights to save the model
    assert sharded.host_memory_mb == pytest.approx(
        4 * RUNTIME_MB + (4 * 4 + 4) * 3.2127e9 / 2**20, rel=0.01
    )
    block = resources_block(four, estimates, "A100")
    assert "gpu: 4, distributed: fsdp2}" in block
    assert set(GPUS) == set(sharded.gpu_hours)

    values["resources"]["train"] |= {"gpu": 2, "nodes": 2}
    two_nodes = parse_study(values, "test")
    estimates = estimate_study(two_nodes)
    on_nodes = of_stage(estimates, "train")["grpo"]
    assert on_nodes.student_tokens == sharded.student_tokens
    assert on_nodes.gpu_memory_gb == sharded.gpu_memory_gb
    assert on_nodes.host_memory_mb == pytest.approx(
        2 * RUNTIME_MB + (2 * 4 + 4) * 3.2127e9 / 2**20, rel=0.01
    )
    runtime = re.search(r"train: .* runtime: (\d+)", block)[1]
    block = resources_block(two_nodes, estimates, "A100")
    assert f"runtime: {runtime}, gpu: 2, nodes: 2, distributed: fsdp2}}" in block


def test_a_warm_up_takes_time_and_memory(study, tmp_path):
    values = study.model_dump() | {"model": write_llama_3b(tmp_path)}
    plain, *_ = estimate_study(parse_study(values, "test"))
    assert (plain.jobs, plain.tflop, plain.gpu_hours) == (1, 0, {})
    values["warmup"] = {"max_steps": 7, "learning_rate": 1e-5, "batch_size": 5, "max_length": 90}
    warm, *_, last = estimate_study(parse_study(values, "test"))
    assert (warm.jobs, warm.prompts) == (2, 7 * 5)
    assert warm.tflop == pytest.approx(6 * 3.2127e9 * 7 * 5 * 90 / 1e12, rel=1e-3)
    assert warm.gpu_hours["A100"] == pytest.approx(warm.tflop / (0.35 * 312) / 3600)
    assert warm.host_memory_mb > plain.host_memory_mb and warm.disk_gb == plain.disk_gb
    assert total([warm, last]).gpu_hours["A100"] > last.gpu_hours["A100"]


@pytest.mark.parametrize("name", ["llama3", "qwen"])
def test_the_studies_for_gpus_fit(name, tmp_path):
    """The models are on the hub and about as large; the paper's size stands for both."""
    values = load_study(ROOT / f"studies/{name}.yaml").model_dump()
    study = parse_study(values | {"model": write_llama_3b(tmp_path)}, "test")
    estimates = estimate_study(study)
    train, evaluate = of_stage(estimates, "train"), of_stage(estimates, "evaluate")
    # three seeds of one epoch: 58 batches of 128 questions, five rollouts per question
    assert train["thinktuning"].prompts == 3 * 58 * 128
    assert train["thinktuning"].student_tokens == 3 * 58 * 128 * 5 * 1024
    # eight batches with the teacher, one taught rollout per question
    assert train["thinktuning"].teacher_tokens == 3 * 8 * 128 * 1024
    answers = 1319 * 4 + 500 * 10 + 60 * 32 + 12032 + (1172 + 1221 + 2290) * 2
    answers += 198 * 10 * ("gpqa_diamond" in study.tasks)
    assert evaluate["zero_shot"].prompts == answers
    assert max(estimate.gpu_memory_gb for estimate in estimates) < 80
    # three seeds at once, each with two checkpoints of 12 bytes per weight
    assert train["grpo"].disk_gb == pytest.approx(3 * 2 * 12 * LLAMA_3B_PARAMETERS / 2**30)


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("runs/grpo/seed0/metrics.jsonl", "{", "metrics.jsonl:1: is not valid JSON"),
        ("runs/grpo/seed0/metrics.jsonl", '{"loss": 1}', "row 1 has no numbers student_tokens, "),
        ("eval/grpo/seed0/chain_sum/results.json", "{", "results.json: is not valid JSON"),
        ("eval/grpo/seed0/chain_sum/results.json", "[1]", "results.json: expected a JSON object"),
        (
            "eval/grpo/seed0/chain_sum/results.json",
            '{\n"mean_tokens": "9"}',
            "results.json has no numbers mean_tokens; give --results",
        ),
    ],
)
def test_results_that_are_not_a_pilots_are_refused(study, tmp_path, file, text, message):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(StudyError, match=message):
        estimate_study(study, tmp_path)


def test_questions_are_counted_by_line(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("{}\n\n{}\n")
    assert num_questions(JsonlConfig(source="jsonl", path=str(path))) == 2
    path.write_bytes(b"{}\n\xff\n")
    with pytest.raises(StudyError, match=r"train\.jsonl:2: is not UTF-8"):
        num_questions(JsonlConfig(source="jsonl", path=str(path)))
