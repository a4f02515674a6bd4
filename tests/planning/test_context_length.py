"""The context that more than a prompt and its answer needs is checked before training."""

import pytest
from planned_study import default_study
from transformers import AutoTokenizer

from thinktuning.io.errors import StudyError
from thinktuning.planning.limits import check_privileged_context, check_resampling_context

ROWS = [{"question": "What is 1+1?"}, {"question": "What is 12+34?"}]
PROMPT = len(
    "<|im_start|>user\nWhat is 12+34? Check your answer.<|im_end|>\n<|im_start|>assistant\n"
)


def job(**training):
    study = default_study(
        training={"max_completion_length": 40} | training,
        teacher={"max_completion_length": 16},
        algorithm={"type": "critique_grpo", "refinement": "organism"},
    )
    return study.train_job("thinktuning", 0)


@pytest.fixture
def longest(tiny_model_dir):
    """A byte is a token, and so is each control token."""
    return PROMPT - 2 * (len("<|im_start|>") - 1) - (len("<|im_end|>") - 1)


def test_prompt_answer_critique_and_second_answer_must_fit(tiny_model_dir, longest):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    room = longest + 16 + 2 * 40
    check_resampling_context(job(), ROWS, tokenizer, room)
    with pytest.raises(StudyError, match=rf"= {longest} \+ 16 \+ 2 \* 40 exceeds the model's"):
        check_resampling_context(job(), ROWS, tokenizer, room - 1)


def test_so_must_they_into_vllms_context(tiny_model_dir, longest):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    room = longest + 16 + 2 * 40
    check_resampling_context(job(vllm={"max_model_length": room}), ROWS, tokenizer, 1024)
    for vllm in ({"max_model_length": room - 1}, {}):  # by default prompt and one answer
        with pytest.raises(StudyError, match=r"exceeds training\.vllm\.max_model_length of"):
            check_resampling_context(job(vllm=vllm), ROWS, tokenizer, 1024)


@pytest.mark.parametrize(
    ("template", "context", "shown"),
    [
        (None, "prompt", 0),
        ("{question} Check your answer.", "feedback", None),  # refused: it lacks the feedback
        ("{question} Check your answer.{response}", "prompt", 40),
        ("{question} Check {feedback}your answer.", "feedback", 16),
        ("{question} Check {feedback}{response}your answer.", "feedback", 56),
    ],
)
def test_what_the_base_reads_in_addition_must_fit(
    tiny_model_dir, longest, template, context, shown
):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    algorithm = {"type": "sdpo", "context": context, "template": template}
    settings = {
        "training": {"max_completion_length": 40},
        "teacher": {"max_completion_length": 16},
        "algorithm": algorithm,
    }
    if shown is None:
        with pytest.raises(StudyError, match="template lacks"):
            default_study(**settings)
        return
    asked, room = default_study(**settings).train_job("thinktuning", 0), longest + shown + 40
    check_privileged_context(asked, ROWS, tokenizer, room)
    with pytest.raises(StudyError, match=rf"= {longest} \+ {shown} \+ 40 exceed the model's"):
        check_privileged_context(asked, ROWS, tokenizer, room - 1)
    check_resampling_context(asked, ROWS, tokenizer, 1)
    check_privileged_context(job(), ROWS, tokenizer, 1)
