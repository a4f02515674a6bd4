"""Reading feedback and splicing it, on short token lists."""

import pytest

from thinktuning.feedback import Feedback, ended, guidance_row, parse_feedback, splice

REPLY = "<opinion>incorrect</opinion><reason>Wait.</reason><phrase>So \\boxed{4}</phrase>"


def test_parse():
    feedback = parse_feedback(REPLY)
    assert feedback == Feedback("incorrect", "Wait.", "So \\boxed{4}")
    assert feedback.text == "\n\nWait.\n\nSo \\boxed{4}"
    spaced = REPLY.replace("><", ">\n<") + "\n"
    assert parse_feedback(spaced) == feedback


@pytest.mark.parametrize(
    "reply",
    [
        None,
        "",
        "Sure! " + REPLY,
        REPLY + " Hope that helps.",
        REPLY.replace("incorrect", "maybe"),
        REPLY.replace("<phrase>", ""),
        REPLY.replace("Wait.", " "),
        REPLY + REPLY,
        REPLY.replace("Wait.", "<reason>Wait."),
    ],
)
def test_a_reply_off_format_is_no_feedback(reply):
    assert parse_feedback(reply) is None


def test_ended_means_exactly_one_eos_at_the_end():
    assert ended([5, 6, 2], [2])
    assert ended([5, 6, 3], [2, 3])
    assert not ended([5, 6], [2])
    assert not ended([5, 2, 2], [2])
    assert not ended([], [2])


def test_splice_keeps_the_students_tokens_and_one_eos():
    assert splice([5, 6, 2], [7, 8], 2, 10) == ([5, 6, 7, 8, 2], 2)
    assert splice([5, 6, 2], [7, 8], 2, 4) == ([5, 6, 7, 8], 2)  # cut: no EOS is left
    assert splice([2], [7], 2, 10) == ([7, 2], 0)  # an empty answer can be taught


def test_guidance_row_covers_the_trajectory_or_the_teacher():
    assert guidance_row(4, 2, 6, "trajectory") == [True, True, True, True, False, False]
    assert guidance_row(4, 2, 6, "teacher") == [False, False, True, True, False, False]
