"""Privileged self-distillation: templates, divergences and what is distilled; TRL's own loss."""

import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from scored import output_of, rollouts
from torch.nn.functional import pad
from trainers import ALWAYS, REPLY, ScriptedTeacher, build, vowel_share
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.experimental.sdpo.loss_utils import (
    compute_full_logit_self_distillation_loss,
    compute_topk_self_distillation_loss,
)

from thinktuning.algorithms import AnyAlgorithmConfig
from thinktuning.algorithms.config import ScheduleConfig
from thinktuning.algorithms.sdpo import SDPOAlgorithmConfig, divergence
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.trainer.trainer import ThinkTuningTrainer

ALL = ScheduleConfig(kind="constant", init=1.0, min=0.0, cutoff=None)
ALPHA = {"forward": 0.0, "reverse": 1.0, "jsd": 0.5}  # TRL's distillation_alpha
PROMPT = TeacherPrompt(system="S", user="{question} {response}")


@pytest.fixture(autouse=True)
def no_warning_about_experimental_features(monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


def sdpo(**keys):
    config = TypeAdapter(AnyAlgorithmConfig).validate_python({"type": "sdpo"} | keys)
    return config.build(*((ScriptedTeacher(), PROMPT) if config.uses_teacher else (None, None)))


# --- divergences ----------------------------------------------------------------------------------


def test_the_divergences_of_two_tokens_by_hand():
    """The student says a with 1/2, the base with 1/4."""
    student, teacher = torch.tensor([[0.5, 0.5]]).log() + 3, torch.tensor([[0.25, 0.75]]).log()
    forward = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    reverse = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    to_student = 0.5 * math.log(0.5 / 0.375) + 0.5 * math.log(0.5 / 0.625)
    to_teacher = 0.25 * math.log(0.25 / 0.375) + 0.75 * math.log(0.75 / 0.625)
    expected = {"forward": forward, "reverse": reverse, "jsd": (to_student + to_teacher) / 2}
    for kind, value in expected.items():
        assert divergence(student, teacher, kind=kind).tolist() == pytest.approx([value])


@pytest.mark.parametrize("kind", ALPHA)
@pytest.mark.parametrize("top_k", [None, 1, 5, 40, 50])
def test_the_divergences_are_those_of_trls_experimental_trainer(kind, top_k):
    generator = torch.Generator().manual_seed(0)
    student, teacher = 3 * torch.randn(2, 7, 40, generator=generator)
    student.requires_grad_()
    found = divergence(student, teacher, kind=kind, top_k=top_k)
    if top_k is None or top_k >= 40:
        wanted = compute_full_logit_self_distillation_loss(
            student, teacher, distillation_alpha=ALPHA[kind]
        )
    else:
        wanted = compute_topk_self_distillation_loss(
            student,
            teacher,
            distillation_topk=top_k,
            distillation_alpha=ALPHA[kind],
            distillation_add_tail=True,
        )
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(each.sum(), student)[0] for each in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_only_the_forward_kl_reaches_a_token_that_the_student_never_says():
    """The student ends with probability 1 - 1e-6; the base goes on with probability 1 - 1e-6."""
    student = torch.tensor([[1 - 1e-6, 1e-6]]).log().requires_grad_()
    teacher = torch.tensor([[1e-6, 1 - 1e-6]]).log()
    pull = {
        kind: torch.autograd.grad(divergence(student, teacher, kind=kind), student)[0][0, 1].item()
        for kind in ALPHA
    }
    assert pull["forward"] == pytest.approx(-1, abs=1e-4)
    assert abs(pull["reverse"]) < 1e-4 and abs(pull["jsd"]) < 1e-4


# --- what is distilled ----------------------------------------------------------------------------

OWN = [[5, 2], [5, 6, 7], [6, 6, 2]]  # the second was cut off


def test_a_prompt_asks_every_rollout_and_no_teacher():
    batch = rollouts(OWN)
    algorithm = sdpo(schedule=ALL)
    assert not algorithm.config.uses_teacher and algorithm.teacher is None
    algorithm.augment(batch)
    assert batch.completion_ids == OWN and sorted(batch.taught) == [0, 1, 2]
    batch.rewards = [0.0] * 3
    records = batch.records([0.0] * 3)
    assert all(r.taught and not r.asked and r.teacher_reply is None for r in records)
    assert batch.metrics["teacher_tokens"] == 0 and batch.metrics["guidance_rate"] == 1


def test_feedback_is_asked_for_rollouts_that_ended_and_not_spliced():
    batch = rollouts(OWN)
    algorithm = sdpo(schedule=ALL, context="feedback")
    algorithm.augment(batch)
    assert batch.completion_ids == OWN and sorted(batch.taught) == [0, 2]
    assert batch.lessons[0].reply == REPLY and batch.metrics["teacher_tokens"] == 20


def test_the_privileged_prompt_is_the_students_with_another_last_turn():
    batch = rollouts(OWN, prompt="Is {response} right?")
    system = {"role": "system", "content": "Be brief."}
    batch.rows = [{"prompt": [system, *row["prompt"]]} for row in batch.rows]
    asked = sdpo(schedule=ALL)
    asked.augment(batch)
    last = {"role": "user", "content": "Is {response} right? Check your answer."}
    assert asked.privileged(batch, 0, batch.lessons[0]) == [system, last]

    template = r"{question} You said {response}. {feedback} Use \boxed{answer}."
    told = sdpo(schedule=ALL, context="feedback", template=template)
    batch.lessons = {}
    told.augment(batch)
    found = told.privileged(batch, 2, batch.lessons[2])
    text = "Is {response} right? You said 6 6 2. Wait.\n\nSo 4 Use \\boxed{answer}."
    assert found == [system, last | {"content": text}]

    batch.rows = [{"prompt": "1 + 1 ="}] * 3  # a plain prompt
    assert asked.privileged(batch, 0, batch.lessons[0]) == "1 + 1 = Check your answer."


class Half:
    """Encodes prompts, and measures half of the tokens' number in each text."""

    num_iterations = 2

    def __init__(self):
        self.compared = []

    def encode(self, prompts):
        ids = torch.tensor([[len(prompt[-1]["content"])] for prompt in prompts])
        return ids, torch.ones_like(ids)

    def compare(self, texts, teacher, measure):
        self.compared.append((texts, teacher))
        return texts.completion_mask * texts.completion_mask.sum(1, keepdim=True) / 2


def test_the_loss_is_the_mean_over_all_of_the_means_over_tokens():
    batch = rollouts(OWN)
    algorithm = sdpo(schedule=ALL)
    algorithm.scorer = Half()
    algorithm.augment(batch)
    del batch.lessons[0]  # as if only two were chosen
    inputs = output_of(batch) | algorithm.loss_inputs(batch, output_of(batch))
    length = len("1 + 1 = Check your answer.")
    assert inputs["privileged_ids"].tolist() == [[0], [length], [length]]
    assert inputs["privileged_mask"].tolist() == [[0], [1], [1]]
    assert inputs["guidance_mask"].tolist() == [[False] * 3, [True] * 3, [True] * 3]
    assert batch.metrics["extra_scored_tokens"] == 2 * (2 * 1 + 6)  # the base reads one a prompt
    assert algorithm.reads(inputs).tolist() == [False] * 3
    logps = torch.zeros(3, 3, requires_grad=True)
    loss = algorithm.loss(logps, inputs)
    assert loss.item() == pytest.approx((1.5 + 1.5) / 3)
    loss.backward()
    assert not logps.grad.any()
    ((texts, teacher),) = algorithm.scorer.compared
    assert texts.completion_ids.tolist() == teacher.completion_ids.tolist() == OWN[1:]
    assert texts.prompt_ids.tolist() == [[1, 3]] * 2
    assert teacher.prompt_ids.tolist() == [[length]] * 2


# --- TRL's own trainer ----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "top_k"), [("forward", None), ("jsd", None), ("reverse", 8)])
def test_it_is_the_loss_of_trls_sdpo_trainer(lively, tmp_path, kind, top_k):
    """On a real batch, half of which is distilled, with a policy that has left the base."""
    from datasets import Dataset
    from trl.experimental.sdpo import SDPOConfig, SDPOTrainer

    trainer = build(
        lively,
        ThinkTuningTrainer,
        tmp_path,
        algorithm=SDPOAlgorithmConfig(schedule=ALWAYS, divergence=kind, top_k=top_k),
        max_steps=2,
        temperature=0.8,
    )
    batches, compute = [], trainer._compute_loss
    trainer._compute_loss = lambda model, i: batches.append(dict(i)) or compute(model, i)
    trainer.train()
    batch, model = batches[1], trainer.model
    model.train()
    loss = compute(model, dict(batch))

    tokenizer = AutoTokenizer.from_pretrained(lively)
    theirs = SDPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(lively, dtype="float32"),
        reward_funcs=vowel_share,
        args=SDPOConfig(
            output_dir=str(tmp_path / "sdpo"),
            distillation_mode="topk_logits" if top_k else "full_logits",
            distillation_topk=top_k,
            distillation_add_tail=bool(top_k),
            distillation_alpha=ALPHA[kind],
            distillation_is_clip=None,
            teacher_model_kind="base",
            temperature=0.8,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
        ),
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 8),
        processing_class=tokenizer,
    )
    theirs.model.load_state_dict(model.state_dict())  # the policy; its teacher is the base
    theirs.current_gradient_accumulation_steps = 1
    theirs.model.train()
    distilled = batch["guidance_mask"].any(1)
    assert 0 < distilled.sum() < len(distilled)
    privileged = pad(batch["privileged_ids"], (0, 0)), batch["privileged_mask"]
    privileged[1][~distilled, -1] = 1  # TRL reads a prompt there, too, and masks the loss
    wanted = theirs.compute_loss(
        theirs.model,
        {name: batch[name] for name in ("prompt_ids", "prompt_mask")}
        | {name: batch[name] for name in ("completion_ids", "completion_mask")}
        | {
            "self_distillation_mask": distilled.float(),
            "teacher_input_ids": torch.cat([privileged[0], batch["completion_ids"]], 1),
            "teacher_attention_mask": torch.cat([privileged[1], batch["completion_mask"]], 1),
        },
    )
    assert loss.item() > 1e-3
    torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=1e-6)
    ours = torch.autograd.grad(loss, list(model.parameters()))
    expected = torch.autograd.grad(wanted, list(theirs.model.parameters()))
    for found, want in zip(ours, expected, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-5)


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"template": "Check your answer."}, r"lacks \{question\}, which context: prompt needs"),
        ({"template": "{question} {feedback}"}, "names feedback in braces, but with context: prom"),
        ({"template": "{question} {answer}"}, "names answer in braces"),
        (
            {"context": "feedback", "template": "{question}"},
            r"lacks \{feedback\}, which context: f",
        ),
        ({"mask": "teacher"}, "nothing is spliced here"),
        ({"keep": "right"}, "nothing is spliced here"),
        ({"divergence": "kl"}, "'forward', 'reverse' or 'jsd'"),
        ({"top_k": 0}, "greater than 0"),
    ],
)
def test_wrong_keys_are_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        sdpo(**keys)


@pytest.mark.parametrize("option", ["beta", "entropy_coef", "use_adaptive_entropy"])
def test_options_of_trls_surrogate_are_refused(option):
    with pytest.raises(ValueError, match=f"'sdpo' cannot honor {option}=1: its loss is a diverg"):
        sdpo().check({option: 1})


def test_it_is_not_separable():
    assert not sdpo().separable
