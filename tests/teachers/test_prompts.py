"""The packaged prompts, a user's own prompt file, and errors in it."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from sympy import sympify

from thinktuning.algorithms.feedback import parse_feedback
from thinktuning.data.config import PromptConfig
from thinktuning.data.prompt import student_chat
from thinktuning.grading.answers import all_boxed, extract_boxed, parse_gold
from thinktuning.grading.behaviors import PATTERNS, detect, reflects
from thinktuning.io.errors import StudyError
from thinktuning.models.chat import num_tokens
from thinktuning.teachers import prompts
from thinktuning.teachers.prompts import Exemplar, TeacherPrompt

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k"

# (behavior, row of GSM8K's training split, answer by hand, the response's answer).
# Joy: 120 pages / 8 * 20 minutes = 300 minutes = 5 hours. Randy: 60 + (60 / 2 - 5) = 85.
# Benson: 12 * 40 - 2 * 40 * 5 % = 480 - 4 = 476.
# Peter: (2.00 - 0.50) / 0.25 = 6. Weng: 12 * 50 / 60 = 10. Julie: (120 - 12 - 24) / 2 = 42.
# Arnel: (10 + 5 * 8) / 10 = 5. Ann: (75 - 5 * 7 - 2 * 10) / 4 = 5.
EXEMPLARS = [
    ("self_agreement", 14, "5", "5"),
    ("self_conflict", 12, "85", "25"),
    ("self_consultation", 40, "476", "456"),
    ("self_critique", 86, "6", "6"),
    ("self_agreement", 1, "10", "10"),
    ("self_conflict", 3, "42", "48"),
    ("self_consultation", 52, "5", "4"),
    ("self_critique", 23, "5", "5"),
]
TERM = r"\d+(?:\.\d+)?(?: [a-z]+)*"  # a number and its unit
EQUATION = re.compile(rf"({TERM}(?: [-+*/] {TERM})+) = (\d+(?:\.\d+)?(?:/\d+)?)")
PAPER = prompts.load("paper")


@pytest.fixture
def own_prompt(tmp_path):
    """A function that writes a prompt file and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "own.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# --- the packaged prompts -------------------------------------------------------------------------


def test_paper_has_two_exemplars_for_each_behavior():
    assert [e.behavior for e in PAPER.exemplars] == [behavior for behavior, *_ in EXEMPLARS]


@pytest.mark.parametrize("number", range(len(EXEMPLARS)), ids=lambda n: f"{EXEMPLARS[n][:2]}")
def test_feedback_in_the_exemplars_is_parsed_and_right(number):
    exemplar, (behavior, _, right, said) = PAPER.exemplars[number], EXEMPLARS[number]
    feedback = parse_feedback(exemplar.feedback)
    assert feedback is not None
    assert all_boxed(exemplar.response) == [said]
    assert feedback.opinion == ("correct" if said == right else "incorrect")
    assert (feedback.opinion == "correct") == (behavior in ("self_agreement", "self_critique"))
    assert all_boxed(feedback.reason) == [] and all_boxed(feedback.phrase) == [right]
    assert extract_boxed(exemplar.response + feedback.text) == right


@pytest.mark.parametrize("behaviors", [None, dict.fromkeys(PATTERNS, 2)])
def test_as_many_right_as_wrong_answers_are_shown(behaviors):
    """A teacher that mostly sees wrong answers leans towards "incorrect"; released are 2 : 2."""
    shown = PAPER.select(behaviors).exemplars
    opinions = Counter(parse_feedback(exemplar.feedback).opinion for exemplar in shown)
    assert opinions == {"correct": len(shown) // 2, "incorrect": len(shown) // 2}


def test_the_responses_are_worded_like_a_chat_models_solution():
    for exemplar in PAPER.exemplars:
        *solution, last = exemplar.response.split("\n\n")
        assert len(solution) >= 2 and "\\boxed" in last, exemplar.response
        assert 60 < len(exemplar.response.split()) < 120
        assert not reflects(exemplar.response)


def test_every_exemplars_reflection_is_detected_as_its_behavior():
    for exemplar in PAPER.exemplars:
        assert detect(parse_feedback(exemplar.feedback).reason) == {exemplar.behavior}


@pytest.mark.parametrize("number", range(len(EXEMPLARS)))
def test_the_exemplars_calculate_right(number):
    """A wrong response is wrong in its reasoning, not in its arithmetic."""
    exemplar = PAPER.exemplars[number]
    for text in (exemplar.response, exemplar.feedback):
        equations = EQUATION.findall(text.replace("$", ""))
        assert len(equations) == text.count(" = ") >= 2
        for left, value in equations:
            exact = sympify(re.sub(" [a-z]+", "", left), rational=True)
            assert exact == sympify(value, rational=True), left


def test_by_default_the_first_exemplar_of_each_behavior_is_shown():
    assert PAPER.select(None).exemplars == PAPER.exemplars[:4]
    assert prompts.load("organism").select(None).exemplars == []


def test_behaviors_select_the_exemplars():
    kept = PAPER.select({"self_critique": 2, "self_agreement": 1, "self_conflict": 0}).exemplars
    assert kept == [PAPER.exemplars[i] for i in (0, 3, 7)]
    expected = r"teacher\.behaviors: asks for {'self_critique': 1} more exemplars than the prompt"
    with pytest.raises(StudyError, match=expected):
        PAPER.select({"self_critique": 3})
    with pytest.raises(StudyError, match=r"{'self_conflict': 1} more .* than the prompt has, {}"):
        prompts.load("organism").select({"self_conflict": 1})


def test_the_toy_models_prompt_has_no_exemplars():
    assert prompts.load("organism").chat("1 + 1 =", "\\boxed{3}") == [
        {"role": "system", "content": "You are a tutor."},
        {"role": "user", "content": "Question:\n1 + 1 =\n\nResponse:\n\\boxed{3}"},
    ]


@pytest.mark.skipif(not GSM8K.is_dir(), reason="not checked: GSM8K is not in ../shared/data/gsm8k")
def test_the_papers_exemplars_are_gsm8k_training_questions():
    def rows(split):
        lines = (GSM8K / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    train = rows("train")
    for exemplar, (_, row, right, _) in zip(PAPER.exemplars, EXEMPLARS, strict=True):
        assert exemplar.question.split() == train[row]["question"].split()
        assert parse_gold(train[row]["answer"], "number") == right
    test_questions = {" ".join(row["question"].split()).lower() for row in rows("test")}
    assert len(test_questions) == 1319
    asked = {" ".join(exemplar.question.split()).lower() for exemplar in PAPER.exemplars}
    assert not asked & test_questions


# --- chats ----------------------------------------------------------------------------------------


def test_exemplars_become_turns():
    exemplar = Exemplar(behavior="self_critique", question="Q", response="R", feedback="F")
    prompt = TeacherPrompt(system="S", user="{question}: {response}!", exemplars=[exemplar])
    assert prompt.chat("q", "r") == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Q: R!"},
        {"role": "assistant", "content": "F"},
        {"role": "user", "content": "q: r!"},
    ]


def test_braces_in_question_and_response_stay_as_they_are():
    prompt = TeacherPrompt(system="S", user="{question}|{response}")
    asked = prompt.chat(r"{response} \frac{1}{2} {0}", "{question} \\boxed{}")[-1]["content"]
    assert asked == r"{response} \frac{1}{2} {0}|{question} \boxed{}"


def test_student_chat():
    assert student_chat("1 + 1 =", PromptConfig(suffix=" Think.")) == [
        {"role": "user", "content": "1 + 1 = Think."}
    ]
    assert student_chat("1 + 1 =", PromptConfig(system="Be brief.")) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1 + 1 ="},
    ]


def test_num_tokens_counts_the_rendered_chat(tiny_model_dir):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    chats = [student_chat(question, PromptConfig()) for question in ("Hi", "Hello")]
    # a token a byte: start, "user\n", question, end, "\n", start, "assistant\n"
    assert num_tokens(chats, tokenizer) == [1 + 5 + 2 + 1 + 1 + 1 + 10, 24]


# --- a user's file --------------------------------------------------------------------------------


def test_a_users_file(own_prompt):
    prompt = prompts.load(own_prompt("system: S\nuser: '{question} {response}'\n"))
    assert prompt == TeacherPrompt(system="S", user="{question} {response}", exemplars=[])


@pytest.mark.parametrize("name", ["papre", "judge"])
def test_an_unknown_name_lists_the_known_ones(name):
    expected = rf"^teacher\.prompt: no packaged prompt '{name}'; use one of \['organism', 'paper'\]"
    with pytest.raises(StudyError, match=expected):
        prompts.load(name)


def test_only_the_judge_can_use_the_judges_prompt():
    assert prompts.load("judge", "judge.prompt").exemplars == []
    with pytest.raises(StudyError, match=r"^judge\.prompt: no .* 'paper'; use one of \['judge'\]"):
        prompts.load("paper", "judge.prompt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("system: S\nuser: '{question}'\n", r"own\.yaml: `user` must contain {response}"),
        ("system: S\nuser: '{response}'\n", r"own\.yaml: `user` must contain {question}"),
        ("user: '{question} {response}'\n", r"own\.yaml:\n  system: is required and missing"),
        (
            "system: S\nuser: '{question} {response}'\nexemplar: []\n",
            r"own\.yaml:\n  exemplar: unknown key; did you mean `exemplars`\?",
        ),
        (
            "system: S\nuser: '{question} {response}'\nexemplars:\n"
            "- {behavior: doubt, question: Q, response: R, feedback: F}\n",
            r"own\.yaml:\n  exemplars\.0\.behavior: Input should be 'self_conflict'",
        ),
        ("system: [", r"own\.yaml: is not valid YAML"),
        ("", r"own\.yaml:\n  Input should be a valid dictionary"),
    ],
)
def test_an_invalid_users_file_is_refused(own_prompt, text, expected):
    with pytest.raises(StudyError, match=expected):
        prompts.load(own_prompt(text))


def test_a_users_file_that_is_missing():
    with pytest.raises(StudyError, match=r"^no/such\.yaml: cannot be read"):
        prompts.load("no/such.yaml")
