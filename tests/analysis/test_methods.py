"""What the page says about each method."""

import json

from finished_study import JOB

from thinktuning.analysis.methods import DESCRIPTIONS, described, differences


def write(directory, config):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))


def test_every_algorithm_describes_itself_in_one_line():
    assert DESCRIPTIONS["grpo"].startswith("GRPO (Shao et al. 2024")
    for text in DESCRIPTIONS.values():
        assert text.endswith(".") and len(text) < 120 and "\n" not in text


def test_a_method_is_its_algorithm_or_what_it_changes_of_another(tmp_path):
    methods = ("base", "asked", "first", "second", "third")
    seeds = {name: [] if name in ("base", "asked") else [0] for name in methods}
    job = JOB.model_copy(
        update={
            "methods": {name: name.upper() for name in methods},
            "seeds": seeds,
            "evaluated_seeds": {name: [0] for name in methods},
        }
    )
    assert described(job, tmp_path) == {}  # results without the configurations
    for name, suffix in (("base", ""), ("asked", " Check.")):
        write(tmp_path / f"eval/{name}/seed0/sums", {"prompt": {"suffix": suffix}})
    sft = {"algorithm": {"type": "sft", "schedule": {"init": 0.1}}, "seed": 0}
    changed = {"algorithm": {"type": "sft", "schedule": {"init": 0.4}}, "training": {"lora": None}}
    for name, config in (("first", sft), ("second", changed), ("third", sft | {"seed": 1})):
        write(tmp_path / f"runs/{name}/seed0", config)
    assert described(job, tmp_path) == {
        "base": "The base model, without training.",
        "asked": 'As BASE, but with prompt.suffix: " Check.".',
        "first": DESCRIPTIONS["sft"],
        "second": "As FIRST, but with algorithm.schedule.init: 0.4.",
        "third": "As FIRST, but with the same settings.",
    }


def test_many_differences_are_counted():
    told = differences({str(i): i for i in range(7)}, {})
    assert told == "with 0: 0, 1: 1, 2: 2, 3: 3, 3 other settings"
