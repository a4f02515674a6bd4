"""Further texts are scored by the policy and by the frozen base, of which there is one copy."""

import copy
import gc
from functools import partial

import pytest
import torch
from scored import Scoring, ScoringConfig, plain_logps, texts_of
from trainers import ALWAYS, ScriptedTeacher, build, logps_of
from transformers import AutoModelForCausalLM, LlamaForCausalLM
from unpadded import Gradients, grouped_batch, relative

import thinktuning.trainer.scoring as scoring
from thinktuning.algorithms.dpo import DPOAlgorithmConfig
from thinktuning.algorithms.scoring import Texts
from thinktuning.algorithms.sdpo import SDPOAlgorithmConfig, divergence
from thinktuning.io.errors import StudyError
from thinktuning.teachers.local import SelfTeacher
from thinktuning.trainer.trainer import ThinkTuningTrainer

LENGTHS = [(7, [9, 3, 1, 6]), (16, [2, 7]), (3, [4, 12])]


def lora():
    from peft import LoraConfig

    return LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")


@pytest.fixture(params=["full", "lora", "padded", "reference"])
def moved(lively, tmp_path, request):
    """A trainer whose policy has left its base, a batch, and the two models as plain ones."""
    settings = {"temperature": 0.7, "max_steps": 2, "learning_rate": 3e-2}
    if request.param == "lora":
        settings["peft_config"] = lora()
    settings["skip_padding"] = request.param != "padded"
    settings["beta"] = 0.1 if request.param == "reference" else 0.0
    trainer = build(
        lively, ThinkTuningTrainer, tmp_path, algorithm=Scoring(ScoringConfig()), **settings
    )
    trainer.train()
    base = AutoModelForCausalLM.from_pretrained(lively, dtype="float32")
    policy = copy.deepcopy(base)
    trained = trainer.model
    if request.param == "lora":
        trained.merge_adapter()
        state = {
            name.replace("base_model.model.", "").replace(".base_layer", ""): weight
            for name, weight in trained.state_dict().items()
            if "lora" not in name
        }
        policy.load_state_dict({name: weight.clone() for name, weight in state.items()})
        trained.unmerge_adapter()
    else:
        policy.load_state_dict(trained.state_dict())
    return trainer, texts_of(grouped_batch(LENGTHS)), policy, base


def other_prompts(texts):
    """Return the same completions after other, longer prompts."""
    ids = torch.cat([texts.prompt_ids, texts.prompt_ids.flip(0)], dim=1)
    mask = torch.ones_like(ids)
    ids = ids.masked_fill(ids == 0, 7)
    return Texts(ids, mask, texts.completion_ids, texts.completion_mask)


def test_log_probabilities_are_those_of_the_two_models(moved):
    trainer, texts, policy, base = moved
    scorer = trainer.algorithm.scorer
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    before = [weight.detach().clone() for weight in weights]
    for who, model in (("policy", policy), ("base", base)):
        found = scorer.logps(texts, who)
        with torch.no_grad():
            wanted = plain_logps(model, texts, 0.7)
        torch.testing.assert_close(found.detach(), wanted, rtol=1e-4, atol=1e-4)
        assert found.requires_grad == (who == "policy")
        assert not found[texts.completion_mask == 0].any()
    assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))
    assert trainer.model.training
    assert relative([plain_logps(policy, texts)], [plain_logps(base, texts)]) > 0.01
    assert scorer.logps(texts.rows(slice(0, 0)), "policy").shape == (0, 12)


def test_distributions_are_compared_under_either_prompt(moved, monkeypatch):
    trainer, texts, policy, base = moved
    teacher = other_prompts(texts)
    seen = []

    def measure(p, q):
        seen.append(len(p))
        return divergence(p, q, kind="forward")

    found = trainer.algorithm.scorer.compare(texts, teacher, measure)
    assert seen == [texts.completion_mask.sum()]
    whole = [
        model(
            input_ids=torch.cat([each.prompt_ids, each.completion_ids], 1),
            attention_mask=torch.cat([each.prompt_mask, each.completion_mask], 1),
        ).logits[:, each.prompt_ids.size(1) - 1 : -1]
        / 0.7
        for model, each in ((policy, texts), (base, teacher))
    ]
    wanted = divergence(*whole, kind="forward") * texts.completion_mask
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)

    # in chunks of rows, which are computed again in the backward pass
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(found.sum(), weights)
    monkeypatch.setattr(scoring, "LOGITS", 3 * texts.completion_ids.size(1) * 259)
    seen.clear()
    chunked = trainer.algorithm.scorer.compare(texts, teacher, measure)
    assert len(seen) == 3
    torch.testing.assert_close(chunked, found, rtol=1e-5, atol=1e-6)
    assert relative(torch.autograd.grad(chunked.sum(), weights), gradients) < 1e-5
    assert len(seen) == 6


def test_chunks_have_the_gradients_of_their_texts_in_mixed_precision(lively, tmp_path, monkeypatch):
    """Autocast keeps casts of weights: those of the base, LoRA's initial ones, are not trained."""
    settings = {"bf16": True, "peft_config": lora(), "algorithm": Scoring(ScoringConfig())}
    trainer = build(lively, ThinkTuningTrainer, tmp_path, **settings)
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    for weight in weights:
        weight.data += 0.02
    texts, scorer = texts_of(grouped_batch(LENGTHS)), trainer.algorithm.scorer
    monkeypatch.setattr(scoring, "LOGITS", 3 * texts.completion_ids.size(1) * 259)
    compare = partial(scorer.compare, measure=partial(divergence, kind="forward"))
    chunks = [texts.rows(slice(start, start + 3)) for start in (0, 3, 6)]
    found, wanted = compare(texts, texts), torch.cat([compare(each, each) for each in chunks])
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(each.sum(), weights) for each in (found, wanted)]
    assert relative(*gradients) < 1e-3


def num_models():
    gc.collect()
    return sum(isinstance(each, LlamaForCausalLM) for each in gc.get_objects())


@pytest.mark.parametrize("case", ["own copy", "self teacher", "lora", "reference"])
def test_there_is_one_copy_of_the_base(tiny_model_dir, tmp_path, case):
    before = num_models()
    settings = {"algorithm": Scoring(ScoringConfig())}
    if case == "self teacher":
        config = DPOAlgorithmConfig(schedule=ALWAYS)
        settings = {"algorithm": config, "teacher": SelfTeacher(max_completion_length=4)}
    elif case == "lora":
        settings["peft_config"] = lora()
    elif case == "reference":
        settings["beta"] = 0.1
    trainer = build(tiny_model_dir, ThinkTuningTrainer, tmp_path, **settings)
    copies = num_models() - before - 1
    assert copies == (0 if case == "lora" else 1)
    if case == "self teacher":
        assert trainer.algorithm.scorer.base is trainer.algorithm.teacher


def test_a_self_teacher_that_is_off_scores_no_more(tiny_model_dir, tmp_path):
    config = DPOAlgorithmConfig(schedule=ALWAYS)
    teacher = SelfTeacher(max_completion_length=4)
    trainer = build(tiny_model_dir, ThinkTuningTrainer, tmp_path, algorithm=config, teacher=teacher)
    teacher.close()
    with pytest.raises(RuntimeError, match="the teacher was closed"):
        trainer.algorithm.scorer.logps(texts_of(grouped_batch(LENGTHS)), "base")


def test_what_cannot_be_scored_is_refused(tiny_model_dir, tmp_path, monkeypatch):
    algorithm = Scoring(ScoringConfig())
    trainer = build(tiny_model_dir, ThinkTuningTrainer, tmp_path, algorithm=algorithm)
    texts = texts_of(grouped_batch([(1000, [9, 30])]))
    with pytest.raises(StudyError, match=r"a text of 1030 tokens, over .* context length of 1024"):
        algorithm.scorer.logps(texts, "base")
    trainer.is_fsdp_enabled = True
    with pytest.raises(ValueError, match=r"'scoring' scores texts of its own.*train with DDP"):
        scoring.TextScorer(trainer)
    monkeypatch.setattr(scoring, "is_deepspeed_zero3_enabled", lambda: True)
    trainer.is_fsdp_enabled = False
    with pytest.raises(ValueError, match="train with DDP"):
        scoring.TextScorer(trainer)


def trained(directory, output, config, **settings):
    """Train; return the trainer, its micro-batches and the gradients of each step."""
    gradients, batches = Gradients(), []
    teacher = ScriptedTeacher() if config.uses_teacher else None
    plain = {"optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 1.0, "max_steps": 4}
    plain |= {"max_completion_length": 40, "reward_funcs": verifies}
    trainer = build(
        directory,
        ThinkTuningTrainer,
        output,
        algorithm=config,
        teacher=teacher,
        callbacks=[gradients],
        **plain | settings,
    )
    compute = trainer._compute_loss
    trainer._compute_loss = lambda model, i: batches.append(dict(i)) or compute(model, i)
    trainer.train()
    return trainer, batches, gradients.found


def verifies(completions, **_):
    return [float("So 4" in completion[-1]["content"]) for completion in completions]


CONFIGS = [
    DPOAlgorithmConfig(schedule=ALWAYS),
    SDPOAlgorithmConfig(schedule=ALWAYS),
    SDPOAlgorithmConfig(schedule=ALWAYS, context="feedback", divergence="jsd"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["dpo", "prompt", "feedback"])
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_accumulation_gives_the_mean_of_the_micro_batches(likely_eos, tmp_path, config, tuning):
    """An optimizer step of two micro-batches has the mean of their gradients."""
    torch.manual_seed(0)
    trainer, batches, gradients = trained(
        likely_eos,
        tmp_path,
        config,
        gradient_accumulation_steps=2,
        learning_rate=1e-9,  # so that the weights stay, and the losses can be computed again
        max_grad_norm=0.0,
        max_steps=2,
        peft_config=lora() if tuning == "lora" else None,
    )
    key = "rejected_mask" if config.type == "dpo" else "privileged_mask"
    assert any(batch[key].any() for batch in batches[:2]) and len(batches) == 4
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    found = []
    for batch in batches[:2]:
        loss = trainer._compute_loss(trainer.model, dict(batch))
        found.append(torch.autograd.grad(loss, weights))
        trainer._micro_batch = None
    mean = [(a + b) / 2 for a, b in zip(*found, strict=True)]
    assert relative(gradients[0], mean) < 1e-4


@pytest.mark.parametrize("config", CONFIGS, ids=["dpo", "prompt", "feedback"])
def test_training_is_the_same_without_padding(likely_eos, tmp_path, config):
    runs = [
        trained(likely_eos, tmp_path / str(skip), config, skip_padding=skip, loss_type="dapo")
        for skip in (False, True)
    ]
    (_, _, wanted), (_, _, found) = runs
    assert len(wanted) == len(found) == 4
    assert relative(*([g for step in steps for g in step] for steps in (found, wanted))) < 1e-3


@pytest.mark.parametrize("config", CONFIGS, ids=["dpo", "prompt", "feedback"])
def test_scored_tokens_are_counted(likely_eos, tmp_path, config):
    trainer, batches, _ = trained(likely_eos, tmp_path, config, logging_steps=2)
    counted = [r["extra_scored_tokens"] for r in trainer.state.log_history if "loss" in r]
    assert len(counted) == 2 and len(batches) == 4
    for found, pair in zip(counted, (batches[:2], batches[2:]), strict=True):
        expected = 0
        for batch in pair:
            texts = Texts.of(batch)
            if config.type == "dpo":  # rejected: policy and base; chosen: base
                mask = batch["rejected_mask"]
                rejected = Texts(texts.prompt_ids, texts.prompt_mask, mask, mask)
                rows = mask.any(1)
                expected += 2 * rejected.rows(rows).num_tokens + texts.rows(rows).num_tokens
            else:
                mask = batch["privileged_mask"]
                read = Texts(mask, mask, texts.completion_ids, texts.completion_mask)
                expected += read.rows(mask.any(1)).num_tokens
        assert found == expected > 0


def test_no_other_algorithm_logs_it(tiny_model_dir, tmp_path):
    trainer = build(tiny_model_dir, ThinkTuningTrainer, tmp_path, max_steps=2)
    trainer.train()
    assert not any("extra_scored_tokens" in row for row in trainer.state.log_history)


def test_completions_that_the_loss_does_not_read_are_not_computed(likely_eos, tmp_path):
    """Of TRL's own forward: the chosen ones of DPO, one position for the graph with SDPO."""
    for config in CONFIGS[:2]:
        trainer, batches, _ = trained(likely_eos, tmp_path, config, learning_rate=1e-9)
        if not trainer.skips_padding:
            pytest.skip("this TRL computes every completion")
        batch, seen, loss = batches[0], [], trainer.algorithm.loss
        trainer.algorithm.loss = lambda logps, i, loss=loss, seen=seen: (
            seen.append(logps.detach()) or loss(logps, i)
        )
        trainer.model.train()
        trainer._compute_loss(trainer.model, dict(batch))
        read = trainer.algorithm.reads(batch)
        assert not seen[0][~read].any() and read.any() == (config.type == "dpo")
        wanted = (logps_of(trainer.model, batch) * batch["completion_mask"])[read].detach()
        torch.testing.assert_close(seen[0][read], wanted, rtol=1e-4, atol=1e-4)
