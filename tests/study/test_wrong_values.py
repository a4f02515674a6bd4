"""Wrong values, contradictions and unreadable files are refused, with the path and the fix."""

import datetime

import pytest
from edited_study import HUB_DATA, TASK, edited, message, refusal

from thinktuning.io.errors import StudyError
from thinktuning.study.reading import load_study, parse_study

GRID = {"axes": {"a": {"key": "training.beta", "values": [0.0, 0.1]}}}
OF_ITSELF = {"baselines": ["grpo"], "published": {"grpo": {"grpo": {"sums": 1.0}}}}
ENDLESS: list = []
ENDLESS.append(ENDLESS)
OTHER = TASK | {"data": TASK["data"] | {"seed": 7}}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("training.max_steps", "80", "training.max_steps: Input should be a valid integer"),
        ("training.max_steps", 80.5, "training.max_steps: Input should be a valid integer"),
        ("training.max_steps", True, "training.max_steps: Input should be a valid integer"),
        ("training.max_steps", 0, "training.max_steps: Input should be greater than 0"),
        ("training.bf16", "yes", "training.bf16: Input should be a valid boolean"),
        ("training.learning_rate", "fast", "training.learning_rate: Input should be a valid numb"),
        ("training.learning_rate", float("inf"), "training.learning_rate: Input should be a finit"),
        ("training.learning_rate", "nan", "training.learning_rate: Input should be a valid numb"),
        ("training.learning_rate", "1_0", "training.learning_rate: Input should be a valid numb"),
        ("training.loss_type", "grop", "training.loss_type: Input should be 'grpo', 'bnpo'"),
        ("training.reward", "box", "training.reward: Input should be 'last_box' or 'whole_text'"),
        ("training.lr_scheduler_type", "cosin", "training.lr_scheduler_type: Input should be 'c"),
        (
            "algorithm.schedule.init",
            1.5,
            "algorithm.schedule.init: Input should be less than or eq",
        ),
        ("algorithm.type", "grop", "algorithm.type: should be one of 'grpo', 'thinktuning', 'sft'"),
        ("algorithm", {"mask": "teacher"}, "algorithm.type: is required and missing"),
        ("methods.grpo.algorithm", {"type": "ppo"}, "methods.grpo.algorithm.type: should be one"),
        (
            "methods.thinktuning.algorithm",
            {"type": "sdpo", "template": "Check it."},
            "methods.thinktuning.algorithm: template lacks {question}, which context: prompt needs",
        ),
        (
            "methods.thinktuning.algorithm",
            {"type": "dpo", "keep": "wrong"},
            "methods.thinktuning.algorithm.keep: the spliced text of a pair is right",
        ),
        ("prompt", "Think.", "prompt: Input should be a valid dictionary"),
        ("methods.grpo.training", None, "methods.grpo.training: Input should be a valid dictionar"),
        (
            "methods.thinktuning.algorithm",
            {"select": 1},
            "methods.thinktuning.algorithm.select: Input should be",
        ),
        ("methods.Bad-Name", {}, "methods.Bad-Name: String should match pattern"),
        ("model.source", "zip", "model.source: should be one of 'organism', 'path', 'hub', 'packa"),
        ("model", {"path": "x"}, "model.source: is required and missing"),
        ("model", {"source": "path"}, "model.path: is required and missing"),
        ("model", {"source": "path", "path": 3}, "model.path: Input should be a valid string"),
        ("data.train", {"source": "jsonl"}, "data.train.path: is required and missing"),
        ("data.train", HUB_DATA | {"revision": "main"}, "data.train.revision: String should matc"),
        ("tasks.sums.lm_eval", "gsm8k", "tasks.sums.lm_eval: no such task"),
        ("seeds", [], "seeds: List should have at least 1 item"),
        ("seeds", [0, 1, 0], "seeds [0, 1, 0] repeat"),
        ("seeds", [0, -1], "seeds.1: Input should be greater than or equal to 0 (found -1)"),
        ("methods", {}, "methods: Dictionary should have at least 1 item"),
        ("comparison.baselines", ["base"], "comparison.baselines names ['base'], not among"),
        (
            "comparison.published",
            {"thinktuning": {"grpo": {"gsm8k": 2.0}}},
            "comparison.published names the task 'gsm8k', which is not among the study's",
        ),
        (
            "comparison.expected",
            {"zeroshot": {"chain_sum": [1, 2]}},
            "comparison.expected names the method 'zeroshot'",
        ),
        ("tasks.mean", OTHER, "tasks.mean: rename it; in `comparison`, mean is that of all tasks"),
        ("judge", {"backend": "openai"}, "judge: backend: openai needs the section judge.openai"),
        ("judge", {"backend": "self"}, "judge.backend: Input should be 'model' or 'openai'"),
        ("evaluation.temperature", 0, "evaluation.temperature = 0 gives the same answer"),
        ("tasks.sums.temperature", 0, "tasks.sums.temperature = 0 gives the same answer"),
        ("tasks.sums.max_gen_toks", 0, "tasks.sums.max_gen_toks: Input should be greater than 0"),
        # free mappings
        (
            "chat_template_kwargs",
            {"date": datetime.date(2024, 7, 26)},
            "chat_template_kwargs.date: Input should be text, a number, true, false, null, or lists"
            " and mappings of these; quote a date",
        ),
        (
            "chat_template_kwargs",
            {"a": [ENDLESS]},
            "chat_template_kwargs.a: Input should have no N",
        ),
        ("data.train.params", {"a": float("nan")}, "data.train.params.a: Input should have no NaN"),
        (
            "evaluation.model_args",
            {"dtype": float("inf")},
            "evaluation.model_args.dtype: Input should have no NaN, no infinity",
        ),
        (
            "sweep",
            {"points": {"a": {"training.beta": float("nan")}}},
            "sweep.points.a.training.beta: Input should have no NaN",
        ),
        # keys that are no text, and values of several types
        (
            "sweep",
            {"axes": {"a": {"key": "training.lora", "values": {False: None, "yes": {"r": 4}}}}},
            "sweep.axes.a.values: the key False is not text; quote it (YAML reads no, yes, on and"
            " off as false or true)",
        ),
        (
            "sweep",
            {"axes": {"a": {"key": "training.beta", "values": 5}}},
            "sweep.axes.a.values: Input should be a valid list, or a valid dictionary (found 5)",
        ),
        (
            "training.report_to",
            True,
            "training.report_to: Input should be a valid string, or a valid list (found True)",
        ),
        # what could only mislead
        (
            "comparison.expected",
            {"grpo": {"sums": [60, 40]}},
            "comparison.expected.grpo.sums: the range begins above its end; write [40, 60]",
        ),
        (
            "comparison.expected",
            {"grpo": {"sums": [0.4, 0.6]}},
            "comparison.expected.grpo.sums: accuracies are in percent, and this is below 1; write"
            " [40, 60]",
        ),
        ("comparison.baselines", ["grpo", "grpo"], "comparison.baselines: names grpo more than on"),
        (
            "comparison",
            {"baselines": ["grpo"], "published": {"grpo": {"thinktuning": {"sums": 1.0}}}},
            "comparison: published.grpo.thinktuning would not be shown: the tables compare",
        ),
        ("comparison", OF_ITSELF, "comparison: published.grpo.grpo would not be shown"),
        (
            "training.held_out",
            {"task": "sums", "eval_steps": 82},
            "training: held_out.eval_steps = 82 is above max_steps = 80, so the questions",
        ),
        (
            "sweep",
            GRID | {"gap": {"asked": "zero_shot", "plain": "zero_shot"}},
            "sweep.gap: asked and plain are both zero_shot, so every gap is 0; name two methods",
        ),
        (
            "sweep",
            GRID | {"figure": {"methods": ["grpo", "grpo"]}},
            "sweep.figure.methods: names grpo more than once; list each once",
        ),
        # contradictions between keys
        ("training.num_generations", 1, "training.num_generations: Input should be greater than"),
        (
            "training.num_generations",
            7,  # 96 * 2 = 192 = 27 * 7 + 3
            "training: per_device_train_batch_size * steps_per_generation = 192 is not a multiple"
            " of num_generations = 7: a group would be split; change one of the three",
        ),
        (
            "training.gradient_accumulation_steps",
            3,
            "training: steps_per_generation = 2 is not a multiple of"
            " gradient_accumulation_steps = 3",
        ),
        (  # four micro-batches: both passes over a rollout batch
            "methods.grpo.training",
            {"gradient_accumulation_steps": 4, "num_iterations": 2},
            "methods.grpo.training: steps_per_generation = 2 is not a multiple of"
            " gradient_accumulation_steps = 4: an optimizer step would straddle two rollout"
            " batches, or two passes over one (num_iterations)",
        ),
        (
            "training.max_steps",
            7,
            "training: max_steps = 7 is not a multiple of the 2 optimizer steps of a rollout"
            " batch: the last one would be used in part, and not recorded; take 8",
        ),
        ("training.max_steps", 1, "training: max_steps = 1 is not a multiple of the 2 optimizer"),
        ("training.beta", -0.1, "training.beta: Input should be greater than or equal to 0"),
        ("training.weight_decay", -1, "training.weight_decay: Input should be greater than or eq"),
        (
            "methods.grpo.training",
            {"top_p": 0.9, "vllm": {"mode": "colocate"}},
            "methods.grpo.training: top_p = 0.9 with vllm.importance_sampling_correction: vLLM's",
        ),
        (
            "training.vllm",
            {"importance_sampling_mode": "token"},
            "training.vllm.importance_sampling_mode: Input should be 'token_truncate'",
        ),
        ("training.top_p", 0, "training.top_p: Input should be greater than 0"),
        ("training.adam_beta2", 1, "training.adam_beta2: Input should be less than 1"),
        (
            "training.save_steps",
            5,
            "training: save_steps = 5 is not a multiple of the 2 optimizer steps",
        ),
        ("methods.grpo.training", {"num_generations": 1}, "methods.grpo.training.num_generations:"),
        ("methods.grpo.training", {"num_generations": 5}, "methods.grpo.training: per_device_trai"),
        ("methods.grpo.training", {"num_iterations": 3}, "methods.grpo.training: max_steps = 80 "),
        ("algorithm.schedule.min", 0.5, "algorithm.schedule: min = 0.5 is above init = 0.4"),
        (
            "methods.thinktuning.algorithm",
            {"schedule": {"init": 0.01}},
            "methods.thinktuning.algorithm.schedule: min = 0.05 is above init = 0.01",
        ),
        ("teacher.backend", "model", "teacher: backend: model needs the section teacher.model"),
        ("teacher.backend", "openai", "teacher: backend: openai needs the section teacher.openai"),
        (
            "teacher.openai",
            {"base_url": "http://localhost:8000/v1", "model": "tutor"},
            "teacher: the section teacher.openai is for backend: openai, but the backend is self;"
            " change the backend or remove the section (in a method: openai: null)",
        ),
        ("teacher.openai", {"base_url": "localhost", "model": "m"}, "teacher.openai.base_url: St"),
        ("teacher.behaviors", {"doubt": 1}, "teacher.behaviors.doubt: "),
        ("training.vllm", {"mode": "server"}, "training.vllm: mode: server needs server_base_url"),
        ("training.vllm", {"server_base_url": "http://x"}, "training.vllm: mode: server needs"),
        ("training.lora", {"r": 0}, "training.lora.r: Input should be greater than 0"),
        ("training.lora", {"rank": 8}, "training.lora.rank: unknown key"),
        ("model.max_terms", 2, "model: max_terms is smaller than min_terms"),
        ("model.student_share", 0.9, "model: student_share + check_share leave no documents"),
        ("model.num_attention_heads", 3, "model: hidden_size = 128 is not a multiple of 2 * num"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(path, value, expected):
    assert refusal(path, value).startswith(expected)


def test_lora_with_a_sharded_model_is_refused():
    study = edited("training.lora", {"r": 8})
    study["resources"]["train"] |= {"gpu": 2, "distributed": "zero3"}
    with pytest.raises(StudyError, match=r"method grpo trains a LoRA adapter, .* use ddp"):
        parse_study(study, "test")
    study["resources"]["train"]["gpu"] = 1
    assert parse_study(study, "test")
    study["resources"]["train"]["nodes"] = 2
    with pytest.raises(StudyError, match=r"use ddp"):
        parse_study(study, "test")


@pytest.mark.parametrize("kind", ["dpo", "sdpo"])
def test_an_algorithm_that_scores_texts_with_a_sharded_model_is_refused(kind):
    study = edited("methods.thinktuning.algorithm", {"type": kind})
    study["resources"]["train"] |= {"gpu": 2, "distributed": "fsdp2"}
    with pytest.raises(StudyError, match=rf"method thinktuning has algorithm {kind}, .* use ddp"):
        parse_study(study, "test")
    study["resources"]["train"]["distributed"] = "ddp"
    assert parse_study(study, "test")


@pytest.mark.parametrize("kind", ["letter", "yes_no"])
def test_the_reward_of_the_whole_text_needs_numbers_or_latex(kind):
    study = edited("training.reward", "whole_text")
    study["data"]["answer_kind"] = kind
    assert (
        "method grpo has training.reward: whole_text, which finds numbers and LaTeX, but"
        f" data.answer_kind is {kind}; use reward: last_box"
    ) in message(study)
    study["training"]["reward"] = "last_box"
    assert parse_study(study, "test")
    study["methods"]["thinktuning"] = {"training": {"reward": "whole_text"}}
    assert "method thinktuning has training.reward: whole_text" in message(study)
    study["data"]["answer_kind"] = "latex"
    assert parse_study(study, "test")


def test_keys_that_are_no_text_are_to_be_quoted():
    for key, study in ((True, {True: 1}), (2, {"methods": {2: {}}})):
        assert f"the key {key} is not text; quote it" in message(edited("name", "x") | study)


def test_a_study_that_is_not_a_mapping():
    assert message(["seeds"]) == "study.yaml: expected a mapping of keys, found list"
    assert message(None).startswith("study.yaml: is empty")


def test_a_missing_file():
    with pytest.raises(StudyError, match=r"^no/study\.yaml: cannot be read \(No such file"):
        load_study("no/study.yaml")


def test_invalid_yaml_names_the_line(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: x\nseeds: [0\ndata: 1\n")
    with pytest.raises(StudyError, match=r"study\.yaml: is not valid YAML: (?s:.*)line 3"):
        load_study(path)
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(StudyError, match="is not valid YAML"):
        load_study(path)
