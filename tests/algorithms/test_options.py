"""TRL options that would break an algorithm's hooks are refused; vanilla GRPO takes them all."""

import dataclasses

import pytest
import torch
from trainers import ALWAYS, TAUGHT, TEXTS, ScriptedTeacher, build
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    MixtralConfig,
    MixtralForCausalLM,
    TrainingArguments,
)
from trl import GRPOConfig, GRPOTrainer

from thinktuning.algorithms.options import HONORED, LIMITED, check_options
from thinktuning.algorithms.sft import SFTAlgorithmConfig
from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig
from thinktuning.trainer.trainer import ThinkTuningTrainer


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: the first number.
        b: the second number.
    """
    return a + b


def scripted_rollouts(prompts, trainer):
    """A `rollout_func`: each completion is an `a`, some `b`s and EOS."""
    tokenizer = trainer.processing_class
    texts = [TEXTS[i % 4] + tokenizer.eos_token for i in range(len(prompts))]
    return {
        "prompt_ids": tokenizer.apply_chat_template(
            prompts, add_generation_prompt=True, return_dict=False
        ),
        "completion_ids": [tokenizer.encode(text, add_special_tokens=False) for text in texts],
        "logprobs": None,
    }


OPTIONS = [
    ("loss_type", "cispo"),
    ("loss_type", "sapo"),
    ("loss_type", "luspo"),
    ("loss_type", "vespo"),
    ("importance_sampling_level", "sequence"),
    ("top_entropy_quantile", 0.5),
    ("off_policy_mask_threshold", 0.1),
    ("tools", [add]),
    ("rollout_func", scripted_rollouts),
]


@pytest.fixture(autouse=True)
def no_warning_about_experimental_features(monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


@pytest.fixture(scope="module")
def with_tools(tiny_model_dir, tmp_path_factory):
    """The tiny model with a chat template that supports tools."""
    import trl

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    templates = trl.__path__[0] + "/chat_templates"
    with open(f"{templates}/qwen2_5.jinja", encoding="utf-8") as file:
        tokenizer.chat_template = file.read()
    directory = tmp_path_factory.mktemp("models") / "tools"
    AutoModelForCausalLM.from_pretrained(tiny_model_dir).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("kind", TAUGHT)
@pytest.mark.parametrize(("option", "value"), OPTIONS)
def test_an_option_that_breaks_the_hooks_is_refused_with_its_reason(
    with_tools, tmp_path, kind, option, value
):
    algorithm = kind(schedule=ALWAYS)
    with pytest.raises(ValueError) as refused:
        build(
            with_tools,
            ThinkTuningTrainer,
            tmp_path,
            teacher=ScriptedTeacher(),
            algorithm=algorithm,
            **{option: value},
        )
    reason = f"algorithm {algorithm.type!r} cannot honor {option}={value!r}: {LIMITED[option][1]};"
    assert str(refused.value).startswith(reason)


@pytest.mark.parametrize(("option", "value"), OPTIONS)
def test_vanilla_grpo_takes_every_option(with_tools, tmp_path, option, value):
    trainer = build(with_tools, ThinkTuningTrainer, tmp_path, **{option: value})
    assert getattr(trainer, option) == value


@pytest.mark.parametrize("option", ["use_liger_kernel", "environment_factory"])
def test_options_that_cannot_be_built_here_are_limited_too(option):
    with pytest.raises(ValueError, match=f"cannot honor {option}"):
        check_options("thinktuning", {option: True}, {})


def test_vanilla_grpo_trains_on_the_rollouts_of_a_function(tiny_model_dir, tmp_path):
    settings = dict(rollout_func=scripted_rollouts)
    stock = build(tiny_model_dir, GRPOTrainer, tmp_path / "stock", **settings)
    stock.train()
    settings["skip_padding"] = False
    ours = build(tiny_model_dir, ThinkTuningTrainer, tmp_path / "ours", **settings)
    ours.train()
    pairs = zip(stock.model.parameters(), ours.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [rollout.text for rollout in ours.rollouts] == TEXTS * 4
    assert [rollout.student_length for rollout in ours.rollouts] == [2, 3, 4, 5] * 4
    assert [r.reward for r in ours.rollouts] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4] * 4)


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


@pytest.mark.parametrize("callers", [4, 16])
def test_vanilla_grpo_trains_on_rollouts_with_tools(with_tools, tmp_path, monkeypatch, callers):
    """`callers` of 16 rollouts call a tool, and have a second turn."""

    def generate(self, prompt_ids, *args, **kwargs):
        first = len(prompt_ids) == 16 and len(turns) % 2 == 0
        turns.append(len(prompt_ids))
        texts = [CALL if first and i < callers else TEXTS[i % 4] for i in range(len(prompt_ids))]
        end = self.processing_class.eos_token
        return [self.processing_class.encode(text + end) for text in texts], None

    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", generate)
    trained = []
    for kind in (GRPOTrainer, ThinkTuningTrainer):
        turns = []
        settings = dict(tools=[add], max_completion_length=200, max_steps=2)
        settings |= {"skip_padding": False} if kind is ThinkTuningTrainer else {}
        trainer = build(with_tools, kind, tmp_path / kind.__name__, **settings)
        trainer.train()
        assert turns == [16, callers]
        trained.append(list(trainer.model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*trained, strict=True))
    for i, rollout in enumerate(trainer.rollouts):
        assert rollout.student_text == (CALL if i < callers else "") + TEXTS[i % 4]
        assert rollout.text.endswith(TEXTS[i % 4])
        if i < callers:
            assert rollout.text.startswith(CALL)
            assert "<tool_response>\n3\n</tool_response>" in rollout.text
            assert rollout.completion_length > rollout.student_length > len(CALL)
        else:
            assert rollout.text == rollout.student_text


# Settings of losses and rollout sources that are themselves refused.
REFUSED = {
    "max_tool_calling_iterations",
    "sapo_temperature_neg",
    "sapo_temperature_pos",
    "vespo_k_neg",
    "vespo_k_pos",
    "vespo_lambda_neg",
    "vespo_lambda_pos",
}


def test_every_trl_option_has_been_reviewed():
    """An option of a new TRL release belongs in one of the three lists."""
    inherited = {option.name for option in dataclasses.fields(TrainingArguments)}
    own = [option for option in dataclasses.fields(GRPOConfig) if option.name not in inherited]
    unknown = {option.name for option in own} - HONORED - LIMITED.keys() - REFUSED
    assert not unknown
    assert not HONORED & (LIMITED.keys() | REFUSED) and not LIMITED.keys() & REFUSED
    # only an option with a plain default can be compared with it
    assert all(option.default is not dataclasses.MISSING for option in own)


@pytest.mark.parametrize("option", sorted(REFUSED))
def test_an_option_that_has_not_been_reviewed_is_refused(option):
    with pytest.raises(ValueError, match=f"cannot honor {option}=7: .* has not been reviewed"):
        check_options("thinktuning", {option: 7}, {})


@pytest.mark.parametrize("given", [None, 0.5, 0.0])
def test_a_loss_of_its_own_refuses_a_router_loss(tiny_model_dir, tmp_path, given):
    """Which a mixture of experts has from its config (0.02), unless TRL's option says otherwise."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    sizes = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_local_experts=2)
    heads = dict(num_attention_heads=2, num_key_value_heads=2, vocab_size=len(tokenizer))
    config = MixtralConfig(router_aux_loss_coef=0.02, eos_token_id=258, **sizes, **heads)
    MixtralForCausalLM(config).save_pretrained(tmp_path / "experts")
    tokenizer.save_pretrained(tmp_path / "experts")

    def built(kind):
        settings = {"algorithm": kind(schedule=ALWAYS), "teacher": ScriptedTeacher()}
        settings["router_aux_loss_coef"] = given
        return build(tmp_path / "experts", ThinkTuningTrainer, tmp_path / "run", **settings)

    assert built(ThinkTuningAlgorithmConfig).aux_loss_enabled == (given != 0)
    if given == 0:
        built(SFTAlgorithmConfig)
        return
    expected = rf"'sft' cannot honor router_aux_loss_coef={given or 0.02}, .*; set it to 0"
    with pytest.raises(ValueError, match=expected):
        built(SFTAlgorithmConfig)


def test_an_option_with_an_allowed_value_is_honored():
    options = {"loss_type": "dr_grpo", "top_entropy_quantile": 1.0, "epsilon": 0.3, "beta": 0.04}
    check_options("thinktuning", options, {})
    with pytest.raises(ValueError, match=r"'sft' cannot honor beta=0\.04: its loss"):
        check_options("sft", options, {"beta": "its loss"})
