"""Parsing feedback, and splicing it, on short token lists."""

import pytest

from thinktuning.algorithms.feedback import Feedback, parse_feedback, splice

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
def test_a_malformed_reply_is_no_feedback(reply):
    assert parse_feedback(reply) is None


def test_splice_keeps_the_students_tokens_and_one_eos():
    assert splice([5, 6, 2], [7, 8], 2, 10) == ([5, 6, 7, 8, 2], 2)
    assert splice([5, 6, 2], [7, 8], 2, 4) == ([5, 6, 7, 8], 2)  # cut: no EOS is left
    assert splice([2], [7], 2, 10) == ([7, 2], 0)  # an empty answer can be taught
