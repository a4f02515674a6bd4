"""The viewer's data: what is stored of a rollout, and the sample if there are too many."""

import json

from thinktuning.analysis.report.viewer import LONGEST, viewer_json

LABELS = {"grpo": "GRPO", "taught": "Taught"}


def rollout(student, text=None, **changes):
    row = {"step": 1, "question": "q", "student_text": student, "text": text or student}
    row |= {"student_reward": 0.0, "reward": 1.0, "advantage": 0.123456}
    row |= {"student_length": 2, "completion_length": 4, "asked": False, "parsed": False}
    return row | {"taught": False, "teacher_reply": None} | changes


def column(data, name):
    """Return a column, with its texts looked up."""
    values = data["columns"][name]
    is_text = name in ("question", "student_text", "teacher_reply", "tail")
    return [data["texts"][v] if v >= 0 else None for v in values] if is_text else values


def test_columns_restore_the_rollouts():
    runs = {
        ("grpo", 3): [rollout("one", advantage=float("nan"), reward=None)],
        ("taught", 4): [
            rollout("one", "one\n\nagain", taught=True, asked=True, teacher_reply="<reason>"),
            rollout("one", "another"),
        ],
    }
    data = json.loads(viewer_json(runs, LABELS, 10_000))
    assert data["runs"][1] == {
        "method": "taught", "label": "Taught", "seed": 4, "num_rollouts": 2, "num_shown": 2
    }  # fmt: skip
    assert column(data, "run") == [0, 1, 1]
    assert column(data, "student_text") == ["one", "one", "one"]
    assert column(data, "tail") == [None, "\n\nagain", "another"]
    assert column(data, "whole") == [0, 0, 1]  # "another" does not start with "one"
    assert column(data, "teacher_reply") == [None, "<reason>", None]
    assert column(data, "taught") == [0, 1, 0]
    assert column(data, "advantage") == [None, 0.1235, 0.1235]
    assert column(data, "reward") == [None, 1.0, 1.0]
    assert sorted(data["texts"]) == sorted({"q", "one", "\n\nagain", "another", "<reason>"})


def test_the_json_contains_no_markup():
    text = viewer_json({("grpo", 0): [rollout("</script><!--&amp;\u2028\x00")]}, LABELS, 10_000)
    assert not set("<>&\x00") & set(text)
    assert "</script><!--&amp;\u2028\x00" in json.loads(text)["texts"]


def test_the_sample_fits_and_is_reproducible():
    runs = {("grpo", 0): [rollout(f"{i:09}") for i in range(1000)]}
    runs |= {("taught", 0): [rollout(f"{i:09}t") for i in range(10)]}
    text = viewer_json(runs, LABELS, 20_000)
    assert 10_000 < len(text.encode()) <= 20_000
    assert text == viewer_json(runs, LABELS, 20_000)
    data = json.loads(text)
    large, small = data["runs"]
    assert (large["num_rollouts"], small["num_rollouts"]) == (1000, 10)
    assert small["num_shown"] == 10
    assert 200 < large["num_shown"] < 500
    shown = [int(student) for student in column(data, "student_text")[: large["num_shown"]]]
    assert shown == sorted(shown)
    assert min(shown) < 100 and max(shown) > 900  # from the whole training


def test_a_size_that_no_rollout_fits():
    data = json.loads(viewer_json({("grpo", 0): [rollout("a" * 100)]}, LABELS, 100))
    assert data["columns"]["step"] == []
    assert data["runs"][0]["num_rollouts"] == 1


def test_long_texts_are_truncated():
    runs = {("grpo", 0): [rollout("a" * (LONGEST + 1234), "a" * (LONGEST + 1234) + "b")]}
    data = json.loads(viewer_json(runs, LABELS, 10**6))
    assert column(data, "student_text") == [
        "a" * LONGEST + "\n[... 1,234 more characters, in rollouts.jsonl]"
    ]
    assert column(data, "tail") == ["b"]
