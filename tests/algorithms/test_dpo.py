"""DPO's pairs and loss: worked by hand, and those of TRL's own trainer on the same pairs."""

import math

import pytest
import torch
from pydantic import ValidationError
from scored import ScriptedScorer, output_of, rollouts
from trainers import ALWAYS, ScriptedTeacher, build, logps_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinktuning.algorithms.batch import Lesson
from thinktuning.algorithms.dpo import DPOAlgorithmConfig, pairs
from thinktuning.algorithms.feedback import Feedback
from thinktuning.trainer.trainer import ThinkTuningTrainer

FEEDBACK = Feedback("incorrect", "Wait.", "So 4")
LESSON = Lesson("...", FEEDBACK, start=1)
NAN = math.nan


def dpo(**keys):
    return DPOAlgorithmConfig(**keys).build(ScriptedTeacher(), "prompt")


def test_a_pair_is_a_wrong_text_whose_spliced_text_is_right():
    before = [0.0, 0.0, 1.0, NAN, 0.0, 0.0]
    after = [1.0, 0.0, 1.0, 1.0, NAN, 1.0]
    lessons = {i: LESSON for i in range(5)}  # the last one is right without a teacher
    lessons[6] = Lesson("...", FEEDBACK, kept=False)
    batch = rollouts([[5, 2]] * 7, student_rewards=[*before, 0.0], rewards=[*after, 1.0])
    batch.lessons = lessons
    assert pairs(batch) == [0]


def test_the_loss_of_two_pairs_by_hand():
    """Three rows; the first and the last are pairs."""
    own = [[5, 2], [6, 2], [5, 6, 2]]
    spliced = [[5, 7, 8, 2], [6, 2], [5, 6, 7, 8, 2]]
    batch = rollouts(own, spliced, student_rewards=[0.0] * 3, rewards=[1.0, 0.0, 1.0])
    batch.lessons = {0: LESSON, 2: Lesson("...", FEEDBACK, start=2)}
    algorithm = dpo(beta=0.5)
    # the base: each token -1, so that a text has minus its length
    algorithm.scorer = ScriptedScorer(lambda texts, who: -1.0 if who == "base" else -0.25)
    output = output_of(batch)
    added = algorithm.loss_inputs(batch, output)
    assert added["rejected_ids"].tolist() == [[5, 2, 0], [0, 0, 0], [5, 6, 2]]
    assert added["rejected_mask"].tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]
    assert added["reference_margin"].tolist() == [-4 + 2, 0, -5 + 3]
    assert [who for _, who in algorithm.scorer.asked] == ["base", "base"]
    # two prompts of 2 tokens: the base reads both texts of a pair, the policy twice the rejected
    assert batch.metrics["extra_scored_tokens"] == (4 + 9) + (4 + 5) + 2 * (4 + 5)
    inputs = output | added
    assert algorithm.reads(inputs).tolist() == [True, False, True]

    logps = torch.full((3, 5), -0.5, requires_grad=True)
    loss = algorithm.loss(logps, inputs)
    # chosen: -0.5 * 4 and -0.5 * 5; rejected: -0.25 * 2 and -0.25 * 3
    # margins: -1.5 and -1.75, minus the reference's -2 and -2: 0.5 and 0.25
    expected = (math.log(1 + math.exp(-0.25)) + math.log(1 + math.exp(-0.125))) / 2
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    pushed = [-0.5 / (1 + math.exp(0.25)) / 2, 0.0, -0.5 / (1 + math.exp(0.125)) / 2]
    wanted = torch.tensor(pushed)[:, None] * output["completion_mask"]
    torch.testing.assert_close(logps.grad, wanted)


def test_without_pairs_the_loss_is_0_with_the_graph_of_the_policy():
    batch = rollouts([[5, 2], [6, 2]], student_rewards=[0.0, 0.0], rewards=[0.0, 0.0])
    algorithm = dpo()
    algorithm.scorer = ScriptedScorer(lambda texts, who: torch.zeros(texts.completion_ids.shape))
    inputs = output_of(batch) | algorithm.loss_inputs(batch, output_of(batch))
    logps = torch.full((2, 2), -0.5, requires_grad=True)
    loss = algorithm.loss(logps, inputs)
    loss.backward()
    assert loss == 0 and not logps.grad.any()


@pytest.fixture
def spliced(likely_eos, tmp_path):
    """A trainer and its first batches: the reward is for the teacher's text alone."""
    batches = []

    def verifies(completions, **_):
        return [float("So 4" in completion[-1]["content"]) for completion in completions]

    def made(**settings):
        trainer = build(
            likely_eos,
            ThinkTuningTrainer,
            tmp_path,
            teacher=ScriptedTeacher(),
            algorithm=DPOAlgorithmConfig(schedule=ALWAYS, beta=0.2),
            reward_funcs=verifies,
            max_completion_length=40,
            **settings,
        )
        compute = trainer._compute_loss
        trainer._compute_loss = lambda model, i: batches.append(dict(i)) or compute(model, i)
        return trainer, batches

    return made


def sequences(batch, rows, name):
    """Return the pairs' texts as a batch of `logps_of`: `completion` (chosen) or `rejected`."""
    return {
        "prompt_ids": batch["prompt_ids"][rows],
        "prompt_mask": batch["prompt_mask"][rows],
        "completion_ids": batch[f"{name}_ids"][rows],
        "completion_mask": batch[f"{name}_mask"][rows],
    }


def test_it_is_the_loss_of_trls_dpo_trainer(spliced, likely_eos, tmp_path):
    """On the pairs of a real batch, with a policy that has left the reference."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    trainer, batches = spliced(max_steps=2, learning_rate=3e-3)
    trainer.train()
    batch = batches[1]
    rows = batch["rejected_mask"].any(1)
    assert 0 < rows.sum() < len(rows)
    trainer.model.train()
    loss = trainer._compute_loss(trainer.model, dict(batch))

    tokenizer = AutoTokenizer.from_pretrained(likely_eos)
    theirs = DPOTrainer(
        model=trainer.model,
        ref_model=AutoModelForCausalLM.from_pretrained(likely_eos, dtype="float32"),
        args=DPOConfig(
            output_dir=str(tmp_path / "dpo"),
            beta=0.2,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=tokenizer,
    )
    length = max(batch[f"{name}_ids"].size(1) for name in ("completion", "rejected"))
    joined = []
    for name in ("completion", "rejected"):
        texts = sequences(batch, rows, name)
        texts |= {
            key: torch.nn.functional.pad(texts[key], (0, length - texts[key].size(1)))
            for key in ("completion_ids", "completion_mask")
        }
        joined.append(texts)
    whole = {key: torch.cat([texts[key] for texts in joined]) for key in joined[0]}
    prompts = torch.zeros_like(whole["prompt_mask"])
    wanted = theirs._compute_loss(
        theirs.model,
        {
            "input_ids": torch.cat([whole["prompt_ids"], whole["completion_ids"]], dim=1),
            "attention_mask": torch.cat([whole["prompt_mask"], whole["completion_mask"]], dim=1),
            "completion_mask": torch.cat([prompts, whole["completion_mask"]], dim=1),
        },
        return_outputs=False,
    )
    assert abs(loss.item() - math.log(2)) > 1e-3  # the policy is no longer the reference
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-6)
    parameters = list(trainer.model.parameters())
    ours, expected = (torch.autograd.grad(each, parameters) for each in (loss, wanted))
    for found, want in zip(ours, expected, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-6)


def test_a_training_prefers_the_corrected_answers(spliced, likely_eos):
    trainer, batches = spliced(max_steps=6, learning_rate=3e-3)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert rows[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)  # policy = reference
    made = [int(batch["rejected_mask"].any(1).sum()) for batch in batches]
    assert sum(made) == sum(row["wrong_to_right"] for row in rows if "wrong_to_right" in row) > 0

    base = AutoModelForCausalLM.from_pretrained(likely_eos, dtype="float32")
    batch = next(batch for batch in batches if batch["rejected_mask"].any())
    pair = batch["rejected_mask"].any(1)
    margins = []
    for model in (base, trainer.model):
        chosen, rejected = (
            (logps_of(model, texts) * texts["completion_mask"]).sum(1)
            for texts in (sequences(batch, pair, name) for name in ("completion", "rejected"))
        )
        margins.append(chosen - rejected)
    torch.testing.assert_close(batch["reference_margin"][pair], margins[0], rtol=1e-4, atol=1e-4)
    assert (margins[1] > margins[0]).all()


@pytest.mark.parametrize(("key", "value"), [("keep", "wrong"), ("mask", "teacher")])
def test_keys_without_a_meaning_for_pairs_are_refused(key, value):
    with pytest.raises(ValidationError, match=r"set (keep to all|mask to trajectory)"):
        DPOAlgorithmConfig(**{key: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [("beta", 0.04), ("entropy_coef", 0.01), ("use_adaptive_entropy", True)],
)
def test_options_of_trls_surrogate_are_refused(option, value):
    with pytest.raises(ValueError, match=f"'dpo' cannot honor {option}={value}: its loss has"):
        dpo().check({option: value})


def test_it_is_not_separable():
    assert not dpo().separable
