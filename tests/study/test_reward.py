"""`training.reward` with functions of one's own: what a study may say, and what is refused."""

import json

import pytest
from edited_study import DEFAULT, edited, message

from thinktuning.commands.train import trainer_settings
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import TrainJob, read_config, sealed, to_json
from thinktuning.study.merging import merge
from thinktuning.study.reading import parse_study

REWARDS = """
def brevity(completions, **kwargs):
    return [0.0 for _ in completions]

def worded(completions, words, **kwargs):
    return [0.0 for _ in completions]

def with_ids(completions, completion_ids, answer, **kwargs):
    return [0.0 for _ in completions]

def short(completions):
    return [0.0 for _ in completions]

def quiz(record):
    return {"question": record["q"], "answer": record["a"], "words": "x"}
"""

NO_BASELINES = {"baselines": []}


@pytest.fixture(autouse=True)
def rewards(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rewards.py").write_text(REWARDS)
    return tmp_path / "rewards.py"


def job(training, algorithm=None):
    """Resolve ThinkTuning's training with these keys."""
    study = edited("methods.thinktuning", {"training": training, "algorithm": algorithm or {}})
    return parse_study(study, "study.yaml").train_job("thinktuning", 0)


def refused(training, algorithm=None):
    return message(
        edited("methods.thinktuning", {"training": training, "algorithm": algorithm or {}})
    )


@pytest.mark.parametrize(
    ("of_study", "of_method", "said"),
    [
        (
            {"training": {"reward": ["last_box", "rewards:brevity"], "reward_weights": [1, 1]}},
            {"training": {"reward": "last_box"}},
            {"training": {"reward_weights": None}},
        ),
        (
            {"algorithm": {"corruption": {"miss_rate": 0.5}}},
            {"algorithm": {"type": "sdpo"}},
            {"algorithm": {"corruption": None}},
        ),
        (
            {"training": {"extra": {"epsilon_high": 0.3}}},
            {"algorithm": {"type": "dpo"}},
            {"training": {"extra": {"epsilon_high": None}}},
        ),
    ],
)
def test_a_method_drops_with_null_what_the_study_sets(of_study, of_method, said):
    study = merge(edited("methods", {"one": of_method}), of_study | {"comparison": NO_BASELINES})
    assert "remove" in message(study) and "(in a method, set" in message(study)
    study["methods"]["one"] = merge(of_method, said)
    assert parse_study(study, "study.yaml")


def test_a_function_and_a_weighted_list_are_rewards():
    assert job({"reward": "rewards:brevity"}).training.rewards == ["rewards:brevity"]
    several = {"reward": ["last_box", "rewards:with_ids"], "reward_weights": [1, 0.2]}
    resolved = job(several | {"right_from": 1.0})
    assert resolved.training.reward_weights == [1, 0.2]
    settings = trainer_settings(resolved)
    assert settings["reward_weights"] == [1, 0.2] and settings["right_from"] == 1.0
    assert "reward" not in settings
    assert {"reward_weights", "right_from"}.isdisjoint(trainer_settings(job({})))


def test_without_one_the_resolved_job_is_as_before():
    text = to_json(job({}))
    assert "right_from" not in text and "reward_weights" not in text
    assert json.loads(text)["training"]["reward"] == "last_box"


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"reward": "rewards:brevty"}, "training.reward: module rewards has no function 'brevty'"),
        ({"reward": "reward:brevity"}, "training.reward: there is no module reward: neither "),
        ({"reward": "rewards:short"}, "rewards:short cannot be called with any keyword arguments"),
        ({"reward": "rewards:worded"}, "reward: rewards:worded needs words, but questions have on"),
        ({"reward": "builtins:print"}, "reward: module builtins has no file; name the module"),
        ({"reward": "time:sleep"}, "reward: module time has no file; name the module that has"),
        ({"reward": []}, "a list of rewards names at least one, and each once"),
        ({"reward": ["last_box", "last_box"]}, "names at least one, and each once"),
        ({"reward": ["last_box", 3]}, "module:function, or a list of these (found 3)"),
        ({"reward": None}, "training.reward: Input should be 'last_box' or 'whole_text', module:"),
        ({"reward_weights": [1.0]}, "reward_weights are for several rewards, and there is one"),
        (
            {"reward": ["last_box", "rewards:brevity"], "reward_weights": [1.0]},
            "reward_weights has 1 numbers for 2 rewards; give one each",
        ),
        (
            {"reward": ["last_box", "rewards:brevity"], "reward_weights": [0, 0.0]},
            "reward_weights are all 0, so nothing is rewarded; raise one",
        ),
        ({"right_from": 0.5}, "right_from = 0.5, but reward last_box is 1 for what is right and 0"),
    ],
)
def test_what_is_no_reward_is_refused(training, said):
    assert said in refused(training)


@pytest.mark.parametrize(
    ("algorithm", "asked"),
    [
        ({"select": "wrong_first"}, "select: wrong_first"),
        ({"select": "all_wrong", "keep": "right"}, "select: all_wrong, keep: right"),
        ({"keep": "wrong"}, "keep: wrong"),
        ({"type": "dpo"}, "type: dpo"),
        ({"type": "critique_grpo"}, "num_refinements: 1"),
        ({"type": "sft", "keep": "right"}, "keep: right"),
        ({"corruption": {"miss_rate": 0.5}}, "corruption"),
        ({"type": "luffy", "keep": "all", "corruption": {"false_alarm_rate": 1}}, "corruption"),
    ],
)
@pytest.mark.parametrize("reward", ["rewards:brevity", ["last_box", "rewards:brevity"]])
def test_right_and_wrong_need_a_threshold_of_a_graded_reward(algorithm, asked, reward):
    expected = f"method thinktuning has algorithm.{asked}, for which a completion is right or wrong"
    assert expected in refused({"reward": reward}, algorithm)
    assert job({"reward": reward, "right_from": 0.5}, algorithm).training.right_from == 0.5
    assert job({"reward": "last_box"}, algorithm)


@pytest.mark.parametrize("kind", ["letter", "yes_no"])
def test_only_whole_numbers_can_be_corrupted(kind):
    study = edited("data.answer_kind", kind)
    study["methods"]["thinktuning"] = {"algorithm": {"corruption": {"miss_rate": 0.5}}}
    said = f"algorithm.corruption, which changes whole numbers, but data.answer_kind is {kind}"
    assert f"method thinktuning has {said}; remove it" in message(study)
    study["methods"]["thinktuning"]["algorithm"]["corruption"] = {"miss_rate": 0}
    assert parse_study(study, "study.yaml")


def test_rft_has_one_threshold():
    rft = {"type": "rft"}
    said = refused({"reward": "rewards:brevity", "right_from": 0.5}, rft | {"min_reward": 1})
    assert "training.right_from = 0.5 and algorithm.min_reward = 1; both say" in said
    for threshold in (0.5, 0, -1):
        found = job({"reward": "rewards:brevity", "right_from": threshold}, rft)
        assert TrainJob.model_validate_json(to_json(found)) == found
        assert found.algorithm.threshold(found.training.right_from) == threshold
    assert job({}, rft).algorithm.min_reward == 1  # written out, as ever
    assert job({"reward": "rewards:brevity", "right_from": 0.5}, rft | {"min_reward": 0.5})
    assert job({"reward": "rewards:brevity"}, rft | {"min_reward": 0.5})


def test_columns_of_an_own_format_are_known_only_once_the_data_are_read(tmp_path):
    study = edited("training.reward", "rewards:worded")
    assert "needs words" in message(study)
    study["data"]["train"] = {"source": "jsonl", "path": "x.jsonl", "format": "rewards:quiz"}
    assert "rewards.py" in parse_study(study, "study.yaml").data_job().files()


def test_answers_that_are_text_need_a_function_of_ones_own():
    study = edited("data.answer_kind", "text")
    assert "training.reward: last_box, which verifies answers, but data.answer_kind is text" in (
        message(study)
    )
    study["training"]["reward"] = "rewards:brevity"
    assert parse_study(study, "study.yaml").train_job("grpo", 0).answer_kind == "text"
    study["tasks"]["sums"]["answer_kind"] = "text"
    assert "tasks.sums: answer_kind is text, which only a function of your own" in message(study)
    study["tasks"]["sums"]["reward"] = "rewards:brevity"
    assert "tasks.sums: reward, a function that scores answers, needs right_from" in message(study)
    study["tasks"]["sums"]["right_from"] = 0.5
    task = parse_study(study, "study.yaml").evaluate_job("grpo", 0, "sums")
    assert (task.reward, task.right_from) == ("rewards:brevity", 0.5)
    assert "rewards.py" in task.files()
    study["tasks"]["sums"]["reward"] = "rewards:with_ids"
    assert "tasks.sums: rewards:with_ids needs completion_ids, but questions have only" in (
        message(study)
    )


def test_the_functions_file_is_part_of_the_job(rewards, tmp_path):
    before = sealed(job({"reward": "rewards:brevity"}))
    assert set(before.sha256) > {"rewards.py"} - set(sealed(job({})).sha256)
    config = tmp_path / "config.json"
    config.write_text(to_json(before))
    assert read_config(config, TrainJob) == before
    rewards.write_text(REWARDS + "\n# another one\n")
    after = sealed(job({"reward": "rewards:brevity"}))
    assert after.sha256["rewards.py"] != before.sha256["rewards.py"]
    with pytest.raises(StudyError, match=r"^rewards.py: has changed since .* was written"):
        read_config(config, TrainJob)
    base = parse_study(DEFAULT, "study.yaml").train_job("grpo", 0)
    assert "rewards.py" not in sealed(base).sha256


def test_a_job_that_starts_elsewhere_says_where_it_looked(tmp_path, monkeypatch):
    config = tmp_path / "config.json"
    config.write_text(to_json(sealed(job({"reward": "rewards:brevity"}))))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(StudyError, match=f"neither rewards.py in {elsewhere} nor an installed"):
        read_config(config, TrainJob)
