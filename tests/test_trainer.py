"""The trainer against stock TRL (guidance off) and against a plain statement of the guided loss."""

import copy

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from thinktuning.schema import AAS, Guidance, Schedule
from thinktuning.teacher import SelfTeacher, Teacher, generate_ids
from thinktuning.trainer import ThinkTuningTrainer
from thinktuning.trainer_config import ThinkTuningConfig

PROMPT = "system: You are a tutor.\nuser: '{question} / {response}'\n"
REPLY = "<opinion>incorrect</opinion><reason>Wait.</reason><phrase>So 4</phrase>"
ALWAYS = Schedule(kind="constant", init=0.5, min=0.0, cutoff=None)


class ScriptedTeacher:
    """Replies the same to every chat, and remembers what it was asked."""

    def __init__(self, reply=REPLY):
        self.reply = reply
        self.chats = []
        self.closed = False
        self.num_generated_tokens = 0

    def generate(self, chats):
        self.chats += chats
        self.num_generated_tokens += 10 * len(chats)
        return [self.reply for _ in chats]

    def close(self):
        self.closed = True


def vowel_share(completions, **_):
    """A reward that varies between rollouts of an untrained model."""
    texts = [completion[-1]["content"] for completion in completions]
    return [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in texts]


def build(directory, kind, output, **overrides):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype="float32")
    extra = {k: overrides.pop(k) for k in ("teacher", "peft_config") if k in overrides}
    config = GRPOConfig
    if kind is ThinkTuningTrainer:
        config = ThinkTuningConfig
        prompt = output.parent / "tutor.yaml"
        prompt.write_text(PROMPT)
        overrides = {"guidance": None, "teacher_prompt": str(prompt)} | overrides
    settings = dict(
        lr_scheduler_type="linear",
        weight_decay=0.0,
        output_dir=str(output),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        per_device_train_batch_size=8,
        steps_per_generation=2,
        gradient_accumulation_steps=1,
        num_generations=4,
        max_completion_length=12,
        learning_rate=1e-3,
        max_steps=6,
        logging_steps=1,
        save_strategy="no",
        seed=3,
        loss_type="bnpo",
        delta=3.0,
        bf16=False,
        gradient_checkpointing=False,
    )
    questions = [f"What is {i}+{i}?" for i in range(16)]
    dataset = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": q}], "question": q} for q in questions]
    )
    trainer = kind(
        model=model,
        args=config(**(settings | overrides)),
        train_dataset=dataset,
        processing_class=tokenizer,
        reward_funcs=vowel_share,
        **extra,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@pytest.mark.parametrize("guidance", [None, Guidance(enabled=False)])
def test_without_guidance_it_is_stock_trl_bit_for_bit(tiny_model_dir, tmp_path, guidance):
    stock = build(tiny_model_dir, GRPOTrainer, tmp_path / "stock")
    stock.train()
    ours = build(tiny_model_dir, ThinkTuningTrainer, tmp_path / "ours", guidance=guidance)
    ours.train()
    pairs = zip(stock.model.parameters(), ours.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    initial = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype="float32")
    assert not torch.equal(initial.lm_head.weight, ours.model.lm_head.weight)

    def losses(trainer):
        return [row["loss"] for row in trainer.state.log_history if "loss" in row]

    assert losses(stock) == losses(ours) and len(losses(ours)) == 6


def reference_gamma(advantage, aas):
    """gamma(A) by docs/method.md."""
    return {
        "paper": (advantage * aas.bound / aas.advantage_range).clamp(-aas.bound, aas.bound),
        "released": -aas.bound,
        "constant": aas.constant,
    }[aas.variant]


def reference_terms(logps, old_logps, advantages, guidance_mask, aas):
    """Each token's loss by docs/method.md, in plain Python; clip 0.2 / 0.2, dual clip 3: (B, T)."""
    rows = []
    for b in range(logps.size(0)):
        advantage = advantages[b]
        row = []
        for t in range(logps.size(1)):
            logp = logps[b, t]
            pi = logp.exp()
            guided = guidance_mask[b, t] and aas.variant != "off"
            if guided and not (advantage < 0 and pi < aas.probability_floor):
                denominator = pi.detach() + reference_gamma(advantage, aas)
                if denominator < 0:
                    denominator = pi.detach() / 1.0001
                elif denominator > 1:
                    denominator = pi.detach() / 0.9999
                row.append(-advantage * pi / denominator)
            else:
                ratio = (logp - old_logps[b, t]).exp()
                clipped = ratio.clamp(0.8, 1.2)
                row.append(-torch.min(ratio.clamp(max=3.0) * advantage, clipped * advantage))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def aggregate(terms, mask, loss_type, max_length):
    """TRL's aggregations of (B, T) terms over a whole rollout batch."""
    if loss_type == "grpo":
        return ((terms * mask).sum(1) / mask.sum(1)).mean()
    if loss_type == "dr_grpo":
        return (terms * mask).sum() / (len(terms) * max_length)
    return (terms * mask).sum() / mask.sum()  # bnpo; dapo differs over several micro-batches only


LENGTH = 9


def batch_of(trainer, mask, with_old_logps):
    """A random batch with padding, and its log-probabilities under the trainer's model."""
    trainer.current_gradient_accumulation_steps = 1
    generator = torch.Generator().manual_seed(7)
    B, P, T = 6, 5, LENGTH
    completion_mask = torch.ones(B, T, dtype=torch.long)
    completion_mask[1, 5:] = completion_mask[4, 2:] = 0
    guidance_mask = {
        "none": torch.zeros(B, T, dtype=torch.bool),
        "some": torch.rand(B, T, generator=generator) < 0.5,
        "all": torch.ones(B, T, dtype=torch.bool),
    }[mask]
    inputs = {
        "prompt_ids": torch.randint(0, 250, (B, P), generator=generator),
        "prompt_mask": torch.ones(B, P, dtype=torch.long),
        "completion_ids": torch.randint(0, 250, (B, T), generator=generator),
        "completion_mask": completion_mask,
        "advantages": torch.tensor([1.5, -1.0, 0.3, -2.0, 0.0, 5.0]),
        "guidance_mask": guidance_mask & completion_mask.bool(),
        "num_items_in_batch": completion_mask.sum(),
    }
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    attention = torch.cat([inputs["prompt_mask"], completion_mask], dim=1)
    logits = trainer.model(input_ids=ids, attention_mask=attention).logits[:, P - 1 : -1]
    logps = logits.log_softmax(-1).gather(-1, inputs["completion_ids"].unsqueeze(-1)).squeeze(-1)
    if with_old_logps:  # ratios on both sides of the clip and past the dual clip
        noise = torch.randn(B, T, generator=generator)
        inputs["old_per_token_logps"] = logps.detach() + noise
    return inputs, logps


def guided_trainer(directory, output, aas, loss_type):
    return build(
        directory,
        ThinkTuningTrainer,
        output,
        teacher=ScriptedTeacher(),
        guidance=Guidance(aas=aas, schedule=ALWAYS),
        loss_type=loss_type,
        steps_per_generation=1,
    )


def assert_equals_the_reference(trainer, inputs, logps):
    """Hold the trainer's loss and gradients on a batch against the plain statement of them."""
    old_logps = inputs.get("old_per_token_logps", logps.detach())
    terms = reference_terms(
        logps,
        old_logps,
        inputs["advantages"],
        inputs["guidance_mask"],
        trainer.guidance.aas,
    )
    mask, length = inputs["completion_mask"], trainer.max_completion_length
    expected = aggregate(terms, mask, trainer.loss_type, length)
    parameters = list(trainer.model.parameters())
    before = copy.deepcopy(inputs)
    loss = trainer._compute_loss(trainer.model, inputs)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert_gradients(torch.autograd.grad(loss, parameters), expected, parameters)
    assert inputs.keys() == before.keys()  # the buffer is used again: nothing in it may change
    assert all(torch.equal(inputs[k], before[k]) for k in before)


def assert_gradients(gradients, expected, parameters):
    wanted = torch.autograd.grad(expected, parameters)
    largest = max(gradient.abs().max().item() for gradient in wanted)
    assert largest > 1e-4
    atol = 1e-6 * max(1.0, largest)
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("variant", ["paper", "released", "constant", "off"])
@pytest.mark.parametrize("with_old_logps", [False, True])
@pytest.mark.parametrize(
    ("mask", "loss_type"),
    [
        ("none", "bnpo"),
        ("all", "bnpo"),
        ("some", "bnpo"),
        ("some", "grpo"),
        ("some", "dr_grpo"),
        ("some", "dapo"),
    ],
)
def test_guided_loss_and_gradients_equal_the_reference(
    tiny_model_dir, tmp_path, variant, with_old_logps, mask, loss_type
):
    trainer = guided_trainer(tiny_model_dir, tmp_path, AAS(variant=variant), loss_type)
    assert_equals_the_reference(trainer, *batch_of(trainer, mask, with_old_logps))


@pytest.mark.parametrize("with_old_logps", [False, True])
@pytest.mark.parametrize(
    "aas",
    # pi + gamma is below 0 for some tokens of the first two, and above 1 for some of the third; the
    # bound is one that no pi is close to, where pi / (pi + gamma) is too steep for float32
    [
        AAS(variant="paper", probability_floor=0.0002),
        AAS(variant="released", probability_floor=0.004, bound=0.0008),
        AAS(variant="constant", probability_floor=0.004, constant=0.995),
    ],
)
def test_guided_loss_at_the_floor_and_at_the_guards(lively, tmp_path, aas, with_old_logps):
    """Probabilities from 2e-5 to 0.06; the tiny model's are all near 0.004, below the floor."""
    trainer = guided_trainer(lively, tmp_path, aas, "bnpo")
    inputs, logps = batch_of(trainer, "all", with_old_logps)
    pi, guided, A = logps.exp(), inputs["guidance_mask"], inputs["advantages"][:, None]
    spared = guided & (A < 0) & (pi < aas.probability_floor)
    denominator = pi + reference_gamma(A, aas)
    assert spared.any() and (guided & (A < 0) & ~spared).any()
    assert (guided & ~spared & ((denominator < 0) | (denominator > 1))).any()
    assert_equals_the_reference(trainer, inputs, logps)


@pytest.mark.parametrize(
    ("with_old_logps", "with_vllm"), [(False, False), (True, False), (True, True)]
)
def test_supervised_objective_has_the_gradient_of_cross_entropy(
    tiny_model_dir, tmp_path, with_old_logps, with_vllm
):
    guidance = Guidance(objective="sft", schedule=ALWAYS)
    trainer = build(
        tiny_model_dir,
        ThinkTuningTrainer,
        tmp_path,
        teacher=ScriptedTeacher(),
        guidance=guidance,
    )
    inputs, logps = batch_of(trainer, "some", with_old_logps)
    if with_vllm:  # how unlike vLLM sampled the student's tokens says nothing of the teacher's
        trainer.use_vllm = trainer.vllm_importance_sampling_correction = True
        inputs["importance_sampling_ratio"] = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0, 0.0])[:, None]
    guided = inputs["guidance_mask"]
    parameters = list(trainer.model.parameters())
    loss = trainer._compute_loss(trainer.model, inputs)
    gradients = torch.autograd.grad(loss, parameters)
    assert_gradients(gradients, -logps[guided].mean(), parameters)
    # once the teacher has left there is nothing to imitate
    inputs["guidance_mask"] = torch.zeros_like(guided)
    loss = trainer._compute_loss(trainer.model, inputs)
    assert all((g == 0).all() for g in torch.autograd.grad(loss, parameters))


def test_feedback_is_spliced_rewarded_and_masked(likely_eos, tmp_path):
    teacher = ScriptedTeacher()
    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        teacher=teacher,
        guidance=Guidance(schedule=ALWAYS, mask="teacher"),
        max_completion_length=40,
        max_steps=2,
    )
    seen = []
    scored = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: seen.append(scored(inputs)) or seen[-1]
    trainer.train()
    batch, rollouts = seen[0], trainer.rollouts
    taught = [i for i, rollout in enumerate(rollouts) if rollout.taught]
    assert taught, "no rollout ended by itself: the fixture's EOS is not likely enough"
    tokenizer = trainer.processing_class
    feedback = "\n\nWait.\n\nSo 4"
    for i, rollout in enumerate(rollouts):
        length = rollout.completion_length
        guided = batch["guidance_mask"][i].nonzero().flatten().tolist()
        if i not in taught:
            assert rollout.text == rollout.student_text and not guided
            continue
        assert rollout.text == rollout.student_text + feedback
        assert guided == list(range(rollout.student_length - 1, length))
        assert tokenizer.decode(batch["completion_ids"][i, guided]) == feedback + "<|im_end|>"
        assert rollout.reward == pytest.approx(
            vowel_share([[{"content": rollout.text}]])[0], rel=1e-5
        )
        assert rollout.student_reward == pytest.approx(
            vowel_share([[{"content": rollout.student_text}]])[0], rel=1e-5
        )
    # half of each group's eligible rollouts, and the teacher saw exactly those
    assert len(teacher.chats) == len([r for r in rollouts if r.asked])
    asked = next(r for r in rollouts if r.asked)
    assert {"role": "user", "content": f"{asked.question} / {asked.student_text}"} in [
        chat[-1] for chat in teacher.chats
    ]


def test_feedback_off_format_leaves_the_rollout_and_is_counted(likely_eos, tmp_path):
    teacher = ScriptedTeacher(reply="Looks good to me!")
    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        teacher=teacher,
        guidance=Guidance(schedule=ALWAYS),
        max_completion_length=40,
        max_steps=2,
    )
    trainer.train()
    row = trainer.state.log_history[0]
    assert row["num_asked"] == row["num_unparsed"] > 0
    assert row["num_taught"] == 0
    assert all(rollout.text == rollout.student_text for rollout in trainer.rollouts)


@pytest.mark.parametrize("keep", ["right", "wrong"])
def test_feedback_is_kept_by_the_verdict_on_the_spliced_rollout(likely_eos, tmp_path, keep):
    def verifies(completions, **_):
        return [float("So 4" in completion[-1]["content"]) for completion in completions]

    class EveryOther(ScriptedTeacher):
        def generate(self, chats):
            wrong = REPLY.replace("So 4", "So 5")
            return [wrong if i % 2 else reply for i, reply in enumerate(super().generate(chats))]

    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        teacher=EveryOther(),
        guidance=Guidance(schedule=ALWAYS, keep=keep),
        max_completion_length=40,
        max_steps=2,
    )
    trainer.reward_funcs = [verifies]
    batches = []
    scored = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda i: batches.append(scored(i)) or batches[-1]
    trainer.train()
    asked = [i for i, r in enumerate(trainer.rollouts) if r.asked]
    taught = [i for i in asked if trainer.rollouts[i].taught]
    assert 0 < len(taught) < len(asked)
    for i in asked:
        rollout = trainer.rollouts[i]
        right = "So 4" in rollout.teacher_reply
        assert rollout.parsed and rollout.taught == (right == (keep == "right"))
        assert (rollout.text == rollout.student_text) == (not rollout.taught)
        assert batches[0]["guidance_mask"][i].any() == rollout.taught
        assert rollout.reward == (1.0 if rollout.taught and right else 0.0)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_the_student_learns_and_its_own_teacher_stays(lively, tmp_path, tuning, monkeypatch):
    """Whatever the trainer does to the student, the teacher always speaks as the base."""
    from peft import LoraConfig

    import thinktuning.teacher as teachers

    said = []

    def watched(*args):
        completions = generate_ids(*args)
        assert generate_ids(*args) == completions
        said.append((args[2], completions))
        return completions

    monkeypatch.setattr(teachers, "generate_ids", watched)
    base = AutoModelForCausalLM.from_pretrained(lively, dtype="float32")
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = build(
        lively,
        ThinkTuningTrainer,
        tmp_path,
        teacher=SelfTeacher(max_completion_length=6),
        guidance=Guidance(schedule=ALWAYS),
        max_completion_length=64,
        learning_rate=1e-2,
        peft_config=lora if tuning == "lora" else None,
    )
    trainer.train()
    assert len(said) > 1  # of three rollout batches, those in which an answer ended
    for rendered, completions in said:
        assert completions == generate_ids(base, trainer.processing_class, rendered, 6)
    assert completions != generate_ids(trainer.model, trainer.processing_class, rendered, 6)


def test_the_teacher_leaves_with_the_schedule(tiny_model_dir, tmp_path):
    teacher = ScriptedTeacher()
    schedule = Schedule(kind="linear", init=0.5, min=0.0, decay_fraction=1.0, cutoff=0.2)
    trainer = build(
        tiny_model_dir,
        ThinkTuningTrainer,
        tmp_path,
        teacher=teacher,
        guidance=Guidance(schedule=schedule),
    )
    trainer.train()
    gammas = [row["gamma"] for row in trainer.state.log_history if "gamma" in row]
    # 6 optimiser steps are 3 rollout batches: 0.5, 0.5 * 2/3, 0.5 * 1/3 <= 0.2
    assert gammas == pytest.approx([0.5, 1 / 3, 0.0])
    assert teacher.closed and trainer.teacher is None


def test_a_teacher_of_ones_own_needs_generate_alone(likely_eos, tmp_path):
    class Own(Teacher):
        def generate(self, chats):
            return [REPLY for _ in chats]

    schedule = Schedule(kind="linear", init=0.5, min=0.0, decay_fraction=1.0, cutoff=0.3)
    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        teacher=Own(),
        guidance=Guidance(schedule=schedule),
        max_completion_length=40,
    )
    trainer.train()
    rows = [row for row in trainer.state.log_history if "num_taught" in row]
    assert rows[0]["num_taught"] > 0 and rows[0]["teacher_tokens"] == 0
    assert rows[-1]["num_taught"] == 0 and trainer.teacher is None


def test_rewards_add_up_as_in_trl(likely_eos, tmp_path):
    """A function that gives no verdict on some rollouts leaves theirs to the other one."""

    def sometimes(completions, **_):
        return [1.0 if i % 3 == 0 else None for i, _ in enumerate(completions)]

    def rarely(completions, **_):
        return [2.0 if i % 2 == 0 else None for i, _ in enumerate(completions)]

    trainer = build(likely_eos, ThinkTuningTrainer, tmp_path, max_steps=2, num_generations=4)
    trainer.reward_funcs = [sometimes, rarely]
    trainer.reward_func_names = ["sometimes", "rarely"]
    trainer.reward_processing_classes = [None, None]
    trainer.reward_weights = torch.tensor([1.0, 0.5])
    trainer.train()
    expected = [
        None if i % 3 and i % 2 else (i % 3 == 0) * 1.0 + (i % 2 == 0) * 0.5 * 2.0
        for i in range(16)
    ]
    assert [rollout.reward for rollout in trainer.rollouts] == expected


def test_guidance_without_a_teacher_is_refused(tiny_model_dir, tmp_path):
    with pytest.raises(ValueError, match="guidance needs a teacher"):
        build(tiny_model_dir, ThinkTuningTrainer, tmp_path, guidance=Guidance())


def test_a_teacher_without_guidance_is_refused(tiny_model_dir, tmp_path):
    with pytest.raises(ValueError, match="a teacher needs guidance"):
        build(tiny_model_dir, ThinkTuningTrainer, tmp_path, teacher=ScriptedTeacher())
