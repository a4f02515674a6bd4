"""What the study refuses of `training.held_out`, and which file a job reads for it."""

import pytest

from thinktuning.io.errors import StudyError
from thinktuning.study.held_out import HeldOutConfig, check_held_out
from thinktuning.study.reading import load_study, parse_study, read_values

HELD_OUT = {"task": "chain_sum", "eval_steps": 20}


def values(root, **held_out):
    found = read_values(root / "config.yaml")
    found["training"]["held_out"] = HELD_OUT | held_out
    return found


def test_a_job_names_its_questions_only_if_it_has_some(request):
    root = request.config.rootpath
    job = parse_study(values(root), "test").train_job("grpo", 0)
    assert job.held_out() == ["eval/chain_sum.jsonl"]
    assert job.training.held_out.size == 64
    plain = load_study(root / "config.yaml").train_job("grpo", 0)
    assert plain.held_out() == [] and "held_out" not in plain.model_dump()["training"]


def test_questions_that_cannot_be_asked_are_refused(request):
    root = request.config.rootpath
    wrong = values(root, task="other")
    with pytest.raises(StudyError, match=r"held_out\.task: other, which is not among the study's"):
        parse_study(wrong, "test")
    kinds = {"chain_sum": "latex"}
    with pytest.raises(ValueError, match=r"of the kind latex, and the reward verifies .*, number"):
        check_held_out("grpo", HeldOutConfig(**HELD_OUT), kinds, "number", 1)
    wrong = values(root)
    wrong["training"]["reward"] = ["last_box", "whole_text"]
    with pytest.raises(StudyError, match="several rewards; held-out questions are verified by one"):
        parse_study(wrong, "test")
    wrong = values(root)
    wrong["resources"]["train"] |= {"gpu": 2}
    with pytest.raises(StudyError, match=r"resources\.train has 2 processes"):
        parse_study(wrong, "test")


def test_a_method_may_do_without(request):
    found = values(request.config.rootpath, task="other")
    found["methods"]["grpo"]["training"] = {"held_out": None}
    found["methods"]["thinktuning"]["training"] = {"held_out": None}
    study = parse_study(found, "test")
    assert study.train_job("grpo", 0).held_out() == []
