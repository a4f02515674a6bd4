"""What a training computes, worked by hand for a small one; and what it writes."""

from dataclasses import replace

import pytest
from planned_study import LLAMA_3B_PARAMETERS, default_study

from thinktuning.planning.costs import GPUS, Size, training_memory
from thinktuning.planning.pilot import Lengths
from thinktuning.planning.work import PADDING, decode_seconds, training_seconds, training_work
from thinktuning.planning.writing import WRITE_BANDWIDTH, adapter_parameters, checkpoints
from thinktuning.study.resources import TrainResourcesConfig

SIZE = Size(1000, 2, 10, 20, 10, 100)
# one rollout batch of two groups of four, used by four optimizer steps; budgets of 64 and 64
SMALL = {
    "max_steps": 4,
    "warmup_steps": 0,
    "per_device_train_batch_size": 2,
    "steps_per_generation": 4,
}
SMALL |= {"num_generations": 4, "save_steps": None}
GUIDED = {"schedule": {"kind": "constant", "init": 0.5, "min": 0.0, "cutoff": None}}
METHODS = ("thinktuning", "sdpo")
SHORT = Lengths(student=10, teacher=6, asked=0.25)  # of eight rollouts two are taught


def job(method="thinktuning", **training):
    return default_study(training=SMALL | training, algorithm=GUIDED).train_job(method, 0)


def test_tokens_and_flop_by_hand():
    found = training_work(job(), SIZE, SHORT, processes=1)
    assert (found.student_tokens, found.teacher_tokens) == (80, 12)
    # two prompts of 64 for sampling; for each request a question and the answer
    assert found.read_tokens == 2 * 64 + 2 * (64 + 10)
    # micro-batches of two rollouts, each of two prompts at most
    assert found.update_tokens == PADDING * (80 + 12 + 8 * 64)
    # 6 forward and backward, and 2 in three of four optimizer steps
    assert found.update_flop == pytest.approx(found.update_tokens * 1000 * (6 + 2 * 3 / 4))
    assert found.generate_flop == 2 * 1000 * (80 + 12 + found.read_tokens)


def test_a_student_that_is_asked_again_reads_and_generates_more():
    again = default_study(
        training=SMALL, algorithm={"type": "critique_grpo", "refinement": "organism", **GUIDED}
    ).train_job("thinktuning", 0)
    found, plain = (training_work(each, SIZE, SHORT, processes=1) for each in (again, job()))
    assert found.student_tokens == 80 + 2 * 10
    # twice question, answer and reply
    assert found.read_tokens == plain.read_tokens + 2 * (64 + 10 + 6)
    assert found.update_tokens == plain.update_tokens
    computed = 80 + 20 + 12 + found.read_tokens
    assert found.generate_flop == 2 * 1000 * computed
    gpu = GPUS["H100"]
    slower = training_seconds(again, SIZE, SHORT, 1, gpu) - training_seconds(
        job(), SIZE, SHORT, 1, gpu
    )
    assert slower > decode_seconds(SIZE, 10, 2, gpu)
    # a pilot has measured both together
    pilot = replace(SHORT, seeds=(10.0,))
    assert training_work(again, SIZE, pilot, processes=1).student_tokens == 80


def test_what_the_base_scores_costs_a_forward_pass():
    study = default_study(
        training=SMALL, methods={"sdpo": {"algorithm": {"type": "sdpo"} | GUIDED}}
    )
    plain, scored = (training_work(study.train_job(m, 0), SIZE, SHORT, 1) for m in METHODS)
    assert scored.update_flop == plain.update_flop + 2 * 1000 * plain.update_tokens


@pytest.mark.parametrize(
    ("training", "layout", "prompts"),
    [
        ({"per_device_train_batch_size": 4, "steps_per_generation": 2}, "packed", 2 * 4),
        ({"gradient_checkpointing": True}, "packed", 8),
        ({"gradient_accumulation_steps": 4, "loss_type": "dapo"}, "packed", 4 * (2 + 3)),
        ({"gradient_accumulation_steps": 4, "loss_type": "bnpo"}, "packed", 4 * 8),
        ({"per_device_train_batch_size": 8, "steps_per_generation": 1}, "packed", 4 * 2),
        ({"per_device_train_batch_size": 8, "steps_per_generation": 1}, "trimmed", 4 * 8),
        ({"per_device_train_batch_size": 8, "steps_per_generation": 1}, "right", 4 * 8),
    ],
)
def test_the_rollouts_of_a_micro_batch_share_prompts(training, layout, prompts):
    """Where the layout allows it; worked by hand for batches of two groups of four."""
    planned = job(**training)
    found = training_work(planned, replace(SIZE, layout=layout), SHORT, processes=1)
    answers = planned.training.num_rollout_batches * (80 + 12)
    assert found.update_tokens == pytest.approx(PADDING * (answers + prompts * 64))


@pytest.mark.parametrize(
    ("layout", "processes", "tokens"),
    [
        ("packed", 2, 2 * PADDING * (80 + 12 + 8 * 64)),
        ("trimmed", 2, 2 * 8 * (64 + 64)),  # in one forward, so that no process waits
        ("padded", 1, 8 * (64 + 64)),
    ],
)
def test_padding_that_is_computed(layout, processes, tokens):
    found = training_work(job(), replace(SIZE, layout=layout), SHORT, processes)
    assert found.update_tokens == pytest.approx(tokens)


def flop_per_weight(work):
    return work.update_flop / work.update_tokens / SIZE.parameters


@pytest.mark.parametrize(("lora", "held"), [(None, 4), ({"r": 4}, 0)])
def test_a_reference_model_costs_memory_and_a_forward_pass(lora, held):
    plain, kl = (job("grpo", beta=beta, lora=lora) for beta in (0.0, 0.1))
    memory = [training_memory(each, SIZE, 1, on_gpu=True)[0] for each in (plain, kl)]
    assert memory[1] - memory[0] == held * SIZE.parameters
    passes = [flop_per_weight(training_work(each, SIZE, SHORT, 1)) for each in (plain, kl)]
    # TRL asks for an adapter's old log-probabilities and the base's in the same way
    old = 2 * 3 / 4 if lora is None else 2
    assert passes == pytest.approx([6 + 2 * 3 / 4, 6 + old + 2])


@pytest.mark.parametrize(("dropout", "old"), [(0.0, 2 * 3 / 4), (0.1, 2)])
def test_with_dropout_all_old_log_probabilities_are_computed(dropout, old):
    planned = job(lora={"r": 4, "lora_dropout": dropout})
    found = training_work(planned, SIZE, SHORT, processes=1)
    assert flop_per_weight(found) == pytest.approx(6 + old)


def test_a_padded_batch_is_no_wider_than_the_budgets():
    """With answers as long as their budget there is nothing to pad."""
    found = training_work(job("grpo"), SIZE, Lengths(64, 64, 0), processes=1)
    assert found.update_tokens == 8 * 64 + 8 * 64


def test_old_log_probabilities_cost_once_and_not_in_the_first_step():
    flop = {}
    for name, training in {
        "one": {"gradient_accumulation_steps": 4, "max_steps": 4},
        "two": {"gradient_accumulation_steps": 2, "max_steps": 2},
        "passes": {"num_iterations": 2, "max_steps": 8},
        "checkpointing": {"gradient_accumulation_steps": 4, "gradient_checkpointing": True},
    }.items():
        work = training_work(job(**training), SIZE, SHORT, processes=1)
        flop[name] = flop_per_weight(work)
    assert flop == pytest.approx(
        {"one": 6, "two": 6 + 2 / 2, "passes": 2 * 6 + 2 * 3 / 4, "checkpointing": 8}
    )


def test_a_teacher_behind_a_server_computes_nothing_here():
    served = {"base_url": "http://localhost:1/v1", "model": "tutor"}
    there = job()
    teacher = there.teacher.model_copy(update={"backend": "openai", "openai": served})
    there = there.model_copy(update={"teacher": teacher})
    found = training_work(there, SIZE, SHORT, processes=1)
    assert found.read_tokens == 2 * 64
    assert found.generate_flop == 2 * 1000 * (80 + found.read_tokens)
    here = training_seconds(job(), SIZE, SHORT, 1, GPUS["A100"])
    assert training_seconds(there, SIZE, SHORT, 1, GPUS["A100"]) < here


def test_a_teacher_takes_the_time_of_its_requests_only():
    """Not of as many as there are rollouts; it answers `batch_size` chats at a time."""
    gpu = GPUS["A100"]
    long, short = (
        training_seconds(job(), SIZE, replace(SHORT, teacher=length), 1, gpu)
        for length in (10_000, 6)
    )
    assert job().teacher.batch_size == 128
    taught = 2 / 128 * decode_seconds(SIZE, 10_000, 128, gpu)
    assert long - short == pytest.approx(taught, rel=0.01)


def test_the_frozen_teacher_is_held_as_its_model_is_stored():
    held = {}
    for stored in (2, 4):
        size = replace(SIZE, stored_bytes=stored)
        held[stored], _ = training_memory(job(), size, 1, on_gpu=True)
    assert held[4] - held[2] == 2 * 1000


@pytest.mark.parametrize(
    ("distributed", "rules", "hours", "number", "per_weight"),
    [
        ("ddp", {"save_steps": 20, "save_minutes": None}, 9.0, 5, 12),
        ("fsdp2", {"save_steps": None, "save_minutes": 60.0}, 5.5, 5, 12),
        ("fsdp2", {"save_steps": None, "save_minutes": 1.0}, 99.0, 25, 12),  # as many as batches
        ("zero3", {"save_steps": 20, "save_minutes": 30.0}, 9.0, 15, 16),  # 2, 4, 5, 7, 9, 10, ...
        ("ddp", {"save_steps": 40, "save_minutes": 60.0}, 9.0, 9, 12),  # 3, 6, 9, 10, ..., 23
        ("fsdp2", {"save_steps": None, "save_minutes": 60.0}, None, 0, 12),
    ],
)
def test_checkpoints_by_hand(distributed, rules, hours, number, per_weight):
    size = replace(SIZE, parameters=LLAMA_3B_PARAMETERS)
    stage = TrainResourcesConfig(gpu=2, distributed=distributed)
    found = checkpoints(job("grpo", max_steps=100, **rules), size, stage, hours)
    assert found.number == number
    assert found.gib == per_weight * LLAMA_3B_PARAMETERS / 2**30
    written = (number * per_weight + 4) * LLAMA_3B_PARAMETERS
    assert found.written_gib == pytest.approx(written / 2**30)
    assert found.hours == pytest.approx(written / WRITE_BANDWIDTH / 3600)


def test_an_adapters_checkpoint_is_that_of_its_weights(tiny_model_dir):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(tiny_model_dir)
    model = AutoModelForCausalLM.from_config(config)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    size = replace(
        SIZE,
        num_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        kv_size=config.hidden_size // config.num_attention_heads * config.num_key_value_heads,
    )
    num_weights, _ = get_peft_model(model, lora).get_nb_trainable_parameters()
    assert adapter_parameters(4, size) == num_weights
    found = checkpoints(
        job("grpo", lora={"r": 4}, save_steps=4, save_minutes=None), size, TrainResourcesConfig(), 1
    )
    assert (found.number, found.gib) == (1, 12 * num_weights / 2**30)
