"""The comparison's figures: the text in them, and the learning curves' points."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from answered_study import ONE_SEED, run_compare, study

from thinktuning.analysis import figures
from thinktuning.commands.compare import compare


def test_figures_contain_text_and_are_reproducible(tmp_path: Path) -> None:
    run_compare(tmp_path, study([0]), ONE_SEED)
    compare(study([0]), tmp_path, tmp_path / "tables", tmp_path / "again")
    for name, expected in (
        ("accuracy", {"zero-shot", "a|b", "sums: accuracy", "sums: reflection"}),
        ("differences", {"a|b", "sums: minus zero-shot"}),
        ("flips", {"a|b", "sums", "wrong to right", "% of committed answers"}),
        ("learning_curves", {"a|b", "Reward after splicing", "one training seed"}),
    ):
        svg = (tmp_path / f"plots/{name}.svg").read_text()
        tags = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
        texts = {"".join(tag.itertext()).strip() for tag in tags}
        assert expected <= texts
        assert "Reward of the student's own text" not in texts  # not in metrics.jsonl
        assert svg == (tmp_path / f"again/{name}.svg").read_text()


def test_every_column_of_answer_changes_has_an_axis_label() -> None:
    shares = dict.fromkeys(figures.FLIP_COLORS, 0.25)
    rows = [{"task": task, "method": "a", "label": "a"} | shares for task in ("x", "y", "mean")]
    tags = ElementTree.fromstring(figures.flips(rows)).iter("{http://www.w3.org/2000/svg}text")
    texts = ["".join(tag.itertext()).strip() for tag in tags]
    assert texts.count("% of committed answers") == texts.count("100") == 2


def test_a_curve_averages_the_steps_of_a_batch() -> None:
    rows = [
        {"rollout_batch": 1, "reward": 0.2, "num_taught": 2, "num_rollouts": 8},
        {"rollout_batch": 1, "reward": 0.4, "num_taught": 2, "num_rollouts": 8},
        {"rollout_batch": 2, "reward": None, "num_taught": 0, "num_rollouts": 8},
    ]
    assert figures.curve(rows, "reward") == pytest.approx({1: 0.3})
    assert figures.curve(rows, "taught_share") == {1: 0.25, 2: 0.0}
    assert figures.curve(rows, "guidance_rate") == {}


def test_held_out_questions_have_a_panel_if_they_are_asked() -> None:
    rows = [{"rollout_batch": n, "reward": 0.5} for n in range(1, 5)]
    asked = [row | {"eval_reward": 0.25} if row["rollout_batch"] % 2 == 0 else row for row in rows]
    labels = {"a": "A", "b": "B"}
    panel = "Reward on held-out questions"
    assert panel in figures.learning_curves({"a": [asked, asked], "b": [rows, rows]}, labels)
    assert panel not in figures.learning_curves({"a": [rows], "b": [rows]}, labels)
