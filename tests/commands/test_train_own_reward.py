"""A training with a reward of one's own: what it is passed, and what follows from its numbers."""

import json

import pytest

from thinktuning.commands.train import train
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, write_jsonl

REWARDS = '''
import json

def thirds(prompts, completions, completion_ids, question, answer, id, log_metric, **others):
    """Grade by the length of the text: 0, 1/3 or 2/3; and note what TRL passed."""
    with open("seen.jsonl", "a") as file:
        row = {"question": question[0], "answer": answer[0], "id": id[0], "others": sorted(others)}
        file.write(json.dumps(row | {"prompt": prompts[0]}) + "\\n")
    log_metric("mean_length", sum(map(len, completion_ids)) / len(completions))
    return [len(completion[-1]["content"]) % 3 / 3 for completion in completions]

def nothing(completions, **_):
    return [float("nan")] * len(completions)

def words(completions, words, **_):
    return [float(word in c[-1]["content"]) for word, c in zip(words, completions)]
'''


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rewards.py").write_text(REWARDS)
    return tmp_path


def test_a_graded_reward_is_trained_on_and_its_threshold_decides_what_is_right(
    training, tutor, here
):
    resolve, model, data = training
    schedule = {"kind": "constant", "init": 1.0, "min": 0.0, "cutoff": None}
    chosen = {"select": "all_wrong", "keep": "right", "schedule": schedule}
    job = resolve(
        teacher=tutor[0],
        algorithm=chosen,
        max_steps=6,
        max_completion_length=160,
        rollouts_per_step=16,
        reward=["rewards:thirds", "last_box"],
        reward_weights=[1.0, 0.1],
        right_from=2 / 3,
    )
    train(job, model, data, here / "run")
    rows = list(read_jsonl(here / "run/metrics.jsonl"))
    rollouts = list(read_jsonl(here / "run/rollouts.jsonl"))
    assert {"rewards/thirds/mean", "rewards/boxed_reward/mean", "mean_length"} <= rows[0].keys()
    assert any(r["advantage"] != 0 for r in rollouts)
    own = [round(len(r["student_text"]) % 3 / 3, 5) for r in rollouts]
    assert [round(r["student_reward"], 5) for r in rollouts] == own
    # whoever has 2/3, in float32 below it, is right, and so not asked; what is kept is right
    assert {own[i] for i, r in enumerate(rollouts) if r["asked"]} <= {0, round(1 / 3, 5)}
    taught = [r for r in rollouts if r["taught"]]
    assert taught and all(r["reward"] > 0.66 for r in taught)
    assert sum(row["wrong_to_right"] for row in rows) == sum(row["num_taught"] for row in rows) > 0
    assert sum(row["right_to_wrong"] for row in rows) == 0
    seen = list(read_jsonl(here / "seen.jsonl"))
    assert seen[0]["prompt"][-1]["content"].startswith(seen[0]["question"])
    assert seen[0]["question"] == f"What is {seen[0]['id'][1:]}+1?"
    assert {"trainer_state", "log_extra"} <= set(seen[0]["others"])


def test_a_reward_that_is_no_number_stops_the_training(training, here):
    resolve, model, data = training
    job = resolve(algorithm={"type": "grpo"}, max_steps=4, reward="rewards:nothing")
    with pytest.raises(StudyError, match=r"training.reward: rewards:nothing returned nan, not a"):
        train(job, model, data, here / "run")
    assert not (here / "run/model").exists()


def test_a_column_of_an_own_format_reaches_the_reward(training, here, monkeypatch):
    """And one that the questions lack stops the training before its first rollout."""
    from thinktuning.study import reward as section

    monkeypatch.setattr(section, "has_own_format", lambda source: True)
    resolve, model, data = training
    job = resolve(algorithm={"type": "grpo"}, max_steps=2, reward="rewards:words")
    with pytest.raises(StudyError, match="rewards:words needs words, but questions have only ans"):
        train(job, model, data, here / "run")
    rows = [row | {"words": "e" if i % 2 else "a"} for i, row in enumerate(read_jsonl(data))]
    write_jsonl(data, rows)
    train(job, model, data, here / "run")
    assert json.loads((here / "run/provenance.json").read_text())["method"] == "thinktuning"
