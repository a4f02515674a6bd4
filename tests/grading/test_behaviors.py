"""The lexical detector of the four behaviors and of reasoning processes."""

import json
import re
from pathlib import Path

import pytest
from effort import measured

from thinktuning.grading import behaviors
from thinktuning.grading.behaviors import PATTERNS, PROCESSES, count, detect, first_boxed, reflects
from thinktuning.teachers import prompts as prompts_package

SHARED = Path(__file__).parents[3] / "shared"


@pytest.mark.parametrize(
    ("text", "behavior"),
    [
        ("Wait, let me check. 3+8=11. 11-2=9.", "self_conflict"),
        ("Wait , let me check .", "self_conflict"),  # a word-level tokenizer's spacing
        ("Wait\nThe total is 9.", "self_conflict"),
        ("Wait a minute, 3 + 8 is 11.", "self_conflict"),
        ("But wait, the question asks for the rest.", "self_conflict"),
        ("Hold on. 3 + 8 is 11.", "self_conflict"),
        ("That can't be right.", "self_conflict"),
        ("That can\u2019t be right.", "self_conflict"),
        ("Something about that number doesn't sit right.", "self_conflict"),
        ("Hmm, 12 apples?", "self_conflict"),
        ("I skipped the steps, so let me redo it.", "self_critique"),
        ("I made a mistake in the addition.", "self_critique"),
        ("I've made another arithmetic error.", "self_critique"),
        ("My calculation was wrong.", "self_critique"),
        ("I forgot to carry the one.", "self_critique"),
        ("I just jumped to the answer.", "self_critique"),
        ("Let me go through it again. 3+8=11.", "self_agreement"),
        ("Let me double-check.", "self_agreement"),
        ("let me verify", "self_agreement"),
        ("Let's verify the result by substitution.", "self_agreement"),
        ("Looking back at my reasoning, each step follows.", "self_agreement"),
        ("Let me walk through my steps again to be sure.", "self_agreement"),
        ("Everything checks out.", "self_agreement"),
        ("My teacher would ask for each step.", "self_consultation"),
        ("My old teacher would ask: what is the unit?", "self_consultation"),
        ("Imagine a colleague asking why.", "self_consultation"),
        ("What would my math teacher say?", "self_consultation"),
        ("If my old physics teacher were looking at this, she would frown.", "self_consultation"),
    ],
)
def test_a_reflective_phrase_is_one_behavior(text, behavior):
    assert detect(text) == {behavior}
    assert reflects(text)


@pytest.mark.parametrize(
    "text",
    [
        r"The answer is \boxed{7}",
        "Let's think step by step. First, 3 + 8 = 11. Then 11 - 2 = 9. So the answer is 9.",
        "The waiter served 12 tables and was awaited by 3 more.",
        "They wait 5 minutes at the station. Wait time: 5 + 3 = 8 minutes.",
        "He had to wait, and holds onto his ticket.",
        "Sam made a mistake on his test and lost 5 points.",
        "Anna forgot to water her plants. Her teacher gave her 3 books.",
        "We check whether 7 divides 91: let us verify that 7 * 13 = 91.",
        "Ben checks out 3 books and looks back at the library.",
        "Chuck checked his change twice.",
        "",
    ],
)
def test_a_plain_solution_does_not_reflect(text):
    assert detect(text) == set()
    assert not reflects(text)


def test_several_behaviors_in_one_response():
    text = (
        "Wait, that is too many. I misread it. My teacher would ask why. Let me verify my answer."
    )
    assert detect(text) == {
        "self_conflict",
        "self_critique",
        "self_consultation",
        "self_agreement",
    }


def test_counts():
    # "Wait, let me check" is one behavior, and is verification and backtracking too
    found = count("Wait, let me check. Hold on. Let me double-check.")
    assert {name: found[name] for name in PATTERNS} == {
        "self_conflict": 2,
        "self_critique": 0,
        "self_agreement": 1,
        "self_consultation": 0,
    }
    assert (found["verification"], found["backtracking"], found["subgoals"]) == (2, 1, 0)


@pytest.mark.parametrize(
    ("text", "process"),
    [
        ("Let me check 3 * 4.", "verification"),
        ("To verify our answer, add them again.", "verification"),
        ("Substituting x = 3 back into the equation gives 9.", "verification"),
        ("Check: 3 + 4 = 7", "verification"),
        ("Wait, it is 7.", "backtracking"),
        ("Let's try another way.", "backtracking"),
        ("That is wrong: it is 7.", "backtracking"),
        ("This approach won't work here.", "backtracking"),
        ("**Step 1:** add", "subgoals"),
        ("First, we need to find the cost.", "subgoals"),
        ("Let's break the problem down.", "subgoals"),
        ("The next step is to add.", "subgoals"),
    ],
)
def test_processes(text, process):
    assert count(text)[process] >= 1
    assert [name for name in PROCESSES if count(text)[name]] == [process]


@pytest.mark.parametrize(
    "text",
    [
        "The waiter waits 5 minutes and checks out books.",
        "He paid by check and got 3 dollars back.",
        "The first man has 3, the next one 4, and so 7.",
        "Footstep 3 is wrongly placed.",
    ],
)
def test_common_words_are_not_a_process(text):
    assert not any(count(text)[name] for name in PROCESSES)


def test_patterns_start_at_a_word_or_a_line():
    """So searching only there finds the same as searching everywhere."""
    prompts = Path(prompts_package.__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in sorted(prompts.glob("*.yaml"))]
    texts += ["Step 1: add.\n**Check:** 3 + 4 = 7. Plug 7 back. Let's go back.", "Next, we add 4."]
    texts += [f"{mark}{text}" for text in texts for mark in ("7", "_", "\n- ", "(")]
    for pattern in (behaviors._REFLECTION, *behaviors._PROCESSES.values()):
        anywhere = re.compile(pattern.pattern.removeprefix(behaviors._BEGIN), pattern.flags)
        assert anywhere.pattern != pattern.pattern
        found = [[m.span() for m in anywhere.finditer(text)] for text in texts]
        assert found == [[m.span() for m in pattern.finditer(text)] for text in texts]
        assert any(found)


@pytest.mark.parametrize("text", ["Wait", "let me verify", "let me just", "but wait", "hold on"])
def test_whitespace_after_a_phrase_takes_linear_time(text):
    with measured() as effort:
        detect(text + " " * 100_000)
    assert effort.units < 40  # quadratic: thousands


def test_first_committed_answer():
    assert first_boxed(r"\boxed{7} Wait, let me check. \boxed{9}") == "7"
    assert first_boxed("no answer") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "fields"),
    [("gsm8k/test.jsonl", ("question", "answer")), ("math500/test.jsonl", ("problem", "solution"))],
)
def test_human_solutions_give_no_false_positives(path, fields):
    if not (SHARED / "data" / path).exists():
        pytest.skip(f"needs {path} in ../shared/data, which is not part of the repository")
    rows = [json.loads(line) for line in (SHARED / "data" / path).read_text().splitlines()]
    assert [row[field] for row in rows for field in fields if reflects(row[field])] == []
