"""Rollouts on a terminal: filters, colors, and control characters."""

import io
import json

import pytest
from rich.console import Console

from thinktuning.analysis import show as module
from thinktuning.analysis.show import show
from thinktuning.io.errors import StudyError
from thinktuning.io.terminal import visible

ROLLOUT = {
    "step": 1,
    "question": "1 + 1 = ?",
    "student_text": "[bold]3[/bold]",
    "text": "[bold]3[/bold]",
    "student_reward": 0.0,
    "reward": 0.0,
    "advantage": -0.5,
    "student_length": 3,
    "completion_length": 3,
    "asked": False,
    "parsed": False,
    "taught": False,
    "teacher_reply": None,
}
TAUGHT = ROLLOUT | {
    "step": 2,
    "text": "[bold]3[/bold]\n\nWait,\nit is 2",
    "reward": 1.0,
    "advantage": 0.5,
    "completion_length": 7,
    "asked": True,
    "parsed": True,
    "taught": True,
    "teacher_reply": "<reason>Wait,</reason>",
}
UNGRADED = ROLLOUT | {"reward": None, "advantage": 0, "asked": True, "teacher_reply": None}
ALL = {"step": None, "taught": False, "wrong": False, "limit": 10}


@pytest.fixture
def run(tmp_path):
    """A run's directory with three rollouts."""
    rows = [ROLLOUT, TAUGHT, UNGRADED]
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_plain_text_when_piped(run, capsys):
    show(run, **ALL | {"taught": True})
    assert capsys.readouterr().out == (
        "step      2  wrong -> right  taught  advantage +0.50  3 tokens, spliced 7\n"
        "question  1 + 1 = ?\n"
        "student   [bold]3[/bold]\n"
        "teacher   <reason>Wait,</reason>\n"
        "spliced   [bold]3[/bold]\n"
        "\n"
        "          Wait,\n"
        "          it is 2\n"
        "\n"
        f"shown     1 of 1 rollouts, of 3 in {run}/rollouts.jsonl\n"
    )


@pytest.mark.parametrize(
    ("filters", "verdicts", "last"),
    [
        ({}, ["wrong", "wrong -> right", "not graded"], "3 of 3 rollouts in "),
        ({"step": 2}, ["wrong -> right"], "1 of 1 rollouts, of 3 in "),
        ({"wrong": True}, ["wrong"], "1 of 1 rollouts, of 3 in "),
        ({"wrong": True, "taught": True}, [], "0 of 0 rollouts, of 3 in "),
        ({"limit": 1}, ["wrong"], "1 of 3 rollouts in "),
    ],
)
def test_filters(run, capsys, filters, verdicts, last):
    show(run, **ALL | filters)
    lines = capsys.readouterr().out.splitlines()
    steps = [line.split("  advantage")[0] for line in lines if line.startswith("step")]
    assert [step.removesuffix("  taught")[13:] for step in steps] == verdicts
    assert lines[-1].startswith(f"shown     {last}")
    assert ("--limit N shows more" in lines[-1]) == (filters == {"limit": 1})


def test_colors_on_a_terminal(run, capsys, monkeypatch):
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, color_system="standard", soft_wrap=True)
    monkeypatch.setattr(module, "console", lambda: terminal)
    show(run, **ALL | {"taught": True})
    assert "\x1b[31mwrong\x1b[0m -> \x1b[32mright\x1b[0m" in out.getvalue()
    assert "[bold]3[/bold]" in out.getvalue()  # not read as markup
    assert "\x1b[1;36m          it is 2\x1b[0m" in out.getvalue()  # the teacher's part


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07\x1b[2J", "<U+001B>]0;title<U+0007><U+001B>[2J"),
        ("a\rb\x00", "a<U+000D>b<U+0000>"),
        ("\x9b31m", "<U+009B>31m"),
        ("\u202edlrow\u2069", "<U+202E>dlrow<U+2069>"),
        ("half \ud83d", "half <U+D83D>"),
        ("tab\tline\n\u00e9 \u4e2d \U0001f600", "tab\tline\n\u00e9 \u4e2d \U0001f600"),
    ],
)
def test_texts_cannot_control_the_terminal(run, capsys, text, shown):
    assert visible(text) == shown
    path = run / "rollouts.jsonl"
    path.write_text(json.dumps(ROLLOUT | {"question": text, "student_text": text, "text": text}))
    show(path, **ALL)
    out = capsys.readouterr().out
    assert shown.split("\t")[0] in out
    assert not set("\x1b\x07\x9b\r\x00\u202e\u2069\ud83d") & set(out)


def test_a_run_in_progress(run, capsys):
    (run / "checkpoints").mkdir()
    (run / "rollouts.jsonl").rename(run / "checkpoints/rollouts.jsonl")
    show(run, **ALL)
    assert "3 of 3 rollouts" in capsys.readouterr().out


@pytest.mark.parametrize("cut", [20, 32])  # the latter in the middle of a character
def test_a_row_that_is_being_written_is_left_out(run, capsys, cut):
    (run / "checkpoints").mkdir()
    path = (run / "rollouts.jsonl").rename(run / "checkpoints/rollouts.jsonl")
    row = json.dumps(ROLLOUT | {"step": 1, "question": "ä" * 100}, ensure_ascii=False).encode()
    with path.open("ab") as file:
        file.write(row[:cut])
    show(run, **ALL)
    assert "3 of 3 rollouts" in capsys.readouterr().out
    with path.open("ab") as file:
        file.write(b"\n")
    with pytest.raises(StudyError, match="jsonl:4: is not "):
        show(run, **ALL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no rollouts.jsonl; pass a run's directory"),
        ("{", "rollouts.jsonl:1: is not valid JSON"),
        ('{"step": 1}', "rollout 1: advantage, asked, .*missing .*train this run again"),
        (json.dumps(ROLLOUT | {"text": 3}), "rollout 1: text missing or of the wrong type"),
        (
            json.dumps(ROLLOUT | {"step": True, "reward": True, "student_length": False}),
            "rollout 1: reward, step, student_length missing or of the wrong type",
        ),
        (
            json.dumps(ROLLOUT | {"advantage": None}),
            "rollout 1: advantage missing or of the wrong type",
        ),
        (json.dumps(ROLLOUT | {"reward": "1", "step": "1"}), "rollout 1: reward, step missing or"),
    ],
)
def test_mistakes_are_refused_by_name(run, text, message):
    path = run / "rollouts.jsonl"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(StudyError, match=message):
        show(run, **ALL)
