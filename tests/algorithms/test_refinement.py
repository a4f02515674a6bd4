"""The prompts of refinements: the packaged ones, and mistakes in a user's."""

import pytest
from edited_study import DEFAULT

from thinktuning.algorithms.critique_grpo import CritiqueGRPOAlgorithmConfig
from thinktuning.algorithms.feedback import Feedback
from thinktuning.algorithms.refinement import load, locate
from thinktuning.commands.tools import check_prompts
from thinktuning.io.errors import StudyError
from thinktuning.study.reading import parse_study
from thinktuning.teachers import prompts as teachers_prompts

CHAT = [{"role": "user", "content": "4 - 1 ="}]
FEEDBACK = Feedback("incorrect", "Wait, let me check: 4 - 1 = 3.", "The answer is \\boxed{3}")


def test_the_prompt_for_chat_models_shows_question_answer_and_critique():
    ((turn,), start) = load("paper").ask(CHAT, "It is 5.", FEEDBACK)
    assert turn["role"] == "user" and start == ""
    for text in ("4 - 1 =", "It is 5.", FEEDBACK.reason, "the answer is incorrect", "\\boxed{}"):
        assert text in turn["content"]
    assert FEEDBACK.phrase not in turn["content"]


def test_the_toy_model_is_asked_to_check_and_begins_with_the_critiques_first_words():
    (chat, start) = load("organism").ask(CHAT, "The answer is \\boxed{5}", FEEDBACK)
    assert chat == [{"role": "user", "content": "4 - 1 = Check your answer."}]
    assert start == "The answer is \\boxed{5}\n\nWait, let me check: "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user: '{response} {critique}'", "must contain {question}"),
        ("user: '{question} {critique}'", "must contain {response}"),
        ("user: '{question} {response}'", "must contain {critique} or {opening}"),
        ("user: '{question} {response} {opening}'\nusr: x", "usr: unknown key; did you mean"),
        ("reply: '{question} {response} {opening}'", "user: is required and missing"),
    ],
)
def test_mistakes_in_a_prompt_are_named(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=str(path)) as refused:
        load(str(path))
    assert message in str(refused.value)
    with pytest.raises(StudyError):
        CritiqueGRPOAlgorithmConfig(refinement=str(path)).resampling_chat(CHAT)


def test_placeholders_may_be_in_the_reply(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("user: '{question}'\nreply: '{response} {opening}'\n")
    assert load(str(path)).reply == "{response} {opening}"


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(StudyError, match=r"no packaged prompt 'papers'; use one of \['organism', "):
        load("papers")


def test_the_prompt_is_one_of_the_files_of_a_job_beside_the_teachers_of_that_name():
    methods = {"critique_grpo": {"algorithm": {"type": "critique_grpo", "refinement": "organism"}}}
    study = parse_study(DEFAULT | {"methods": DEFAULT["methods"] | methods}, "test")
    files = study.train_job("critique_grpo", 0).files()
    assert files["refinement organism"] == locate("organism")
    assert files["organism"] == teachers_prompts.locate("organism") != locate("organism")


def test_validate_finds_a_prompt_that_is_missing(tmp_path):
    path = str(tmp_path / "missing.yaml")
    algorithm = {"type": "critique_grpo", "refinement": path}
    methods = DEFAULT["methods"] | {"critique_grpo": {"algorithm": algorithm}}
    study = parse_study(DEFAULT | {"methods": methods}, "test")
    with pytest.raises(StudyError, match=r"missing\.yaml: cannot be read"):
        check_prompts(study)
