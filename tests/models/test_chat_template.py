"""A chat template is read, not only rendered: what is said must be in it, and must end."""

import shutil

import pytest
from transformers import AutoTokenizer

from thinktuning.io.errors import StudyError
from thinktuning.models.checks import check

START, END = "<|im_start|>", "<|im_end|>"
TURN = "{{ '" + START + "' + m['role'] + '\\n' + m['content'] + '" + END + "\\n' }}"
EACH = "{% for m in messages %}" + TURN + "{% endfor %}"
PROMPT = "{% if add_generation_prompt %}{{ '" + START + "assistant\\n' }}{% endif %}"


@pytest.fixture
def templated(tiny_model_dir, tmp_path):
    """Return a function that gives the tiny model another chat template."""

    def write(template):
        directory = tmp_path / "model"
        shutil.copytree(tiny_model_dir, directory)
        tokenizer = AutoTokenizer.from_pretrained(directory)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(directory)
        return directory

    return write


@pytest.mark.parametrize(
    "template",
    [
        EACH + PROMPT,
        EACH.replace("m['content']", "m['content'] | trim") + PROMPT,
        # Llama 3's kind: a header, and a default system turn where there is none
        "{% if messages[0]['role'] != 'system' %}{{ 'Be kind.' }}{% endif %}" + EACH + PROMPT,
    ],
)
def test_templates_that_carry_everything(templated, template):
    check(templated(template), "the model", system=True)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (EACH.replace("m['content']", "'4'") + PROMPT, "loses or reorders a turn of the system"),
        (
            "{% for m in messages if m['role'] != 'system' %}" + TURN + "{% endfor %}" + PROMPT,
            "loses or reorders a turn of the system: 'You are Ada.'",
        ),
        (
            "{% for m in messages if m['role'] != 'assistant' %}" + TURN + "{% endfor %}" + PROMPT,
            "loses or reorders a turn of the assistant",
        ),
        (
            "{% for m in messages[:3] %}" + TURN + "{% endfor %}" + PROMPT,
            "loses or reorders a turn of the user: 'And 21",
        ),
        (EACH.replace("in messages", "in messages | reverse") + PROMPT, "loses or reorders"),
        (EACH.replace("m['content']", "m['content'] | upper") + PROMPT, "loses or reorders"),
        (EACH.replace("m['content']", "m['content'][:8]") + PROMPT, "loses or reorders"),
        (EACH, "has no generation prompt"),
        (EACH.replace(END, "") + PROMPT, "does not end the assistant's turn"),
        (EACH.replace(END, "</s>") + PROMPT, "does not end the assistant's turn"),
        ("{{ raise_exception('no system turn') }}", "does not render"),
    ],
)
def test_templates_that_do_not(templated, template, message):
    with pytest.raises(StudyError, match=f"the model: its chat template {message}"):
        check(templated(template), "the model", system=True)


NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}%s{% endif %}" + EACH + PROMPT
RAISES = "{{ raise_exception('System role not supported') }}"
SILENT = "{% set messages = messages[1:] %}"


@pytest.mark.parametrize("start", [RAISES, SILENT])
def test_a_template_without_system_turns_does_where_there_are_none(templated, start):
    """As in Gemma 2, whose template raises."""
    directory = templated(NO_SYSTEM.replace("%s", start))
    check(directory, "the model")
    with pytest.raises(StudyError, match=r"a system turn .*remove prompt\.system and let another"):
        check(directory, "the model", system=True)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (EACH.replace("m['content']", "m['content'] | upper") + PROMPT, "turn of the user"),
        (EACH, "has no generation prompt"),
        (EACH.replace(END, "") + PROMPT, "does not end the assistant's turn"),
        ("{{ raise_exception('no') }}", r"does not render \['user', 'assistant', 'user'\]: no"),
    ],
)
def test_the_other_turns_are_read_without_a_system_turn_too(templated, template, message):
    with pytest.raises(StudyError, match=f"the model: its chat template .*{message}"):
        check(templated(template), "the model")
