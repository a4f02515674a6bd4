"""The teacher behind a server, against a local OpenAI-compatible server."""

import threading
import time

import pytest
from openai_server import Server, error, reply
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinktuning.evaluation.config import JudgeConfig
from thinktuning.io.errors import StudyError
from thinktuning.teachers.config import TeacherConfig
from thinktuning.teachers.connect import connect
from thinktuning.teachers.local import LocalTeacher
from thinktuning.teachers.openai import OpenAITeacher

CHATS = [[{"role": "user", "content": f"{n} + {n} ="}] for n in range(6)]


def teacher_of(url, **settings):
    return OpenAITeacher(url, "tutor", **({"max_completion_length": 7, "timeout": 5.0} | settings))


def test_replies_are_those_of_the_served_model(tiny_model_dir):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype="float32")
    local = LocalTeacher(model, tokenizer, max_completion_length=7)
    expected = local.generate(CHATS)
    served = LocalTeacher(model, tokenizer, max_completion_length=7)
    one_at_a_time = threading.Lock()

    def answer(body, _):
        assert body["temperature"] == 0 and body["model"] == "tutor"
        with one_at_a_time:
            before = served.num_generated_tokens
            served.max_completion_length = body["max_tokens"]
            (text,) = served.generate([body["messages"]])
            tokens = served.num_generated_tokens - before
        return 200, reply(text or "cut", tokens, "stop" if text is not None else "length")

    with Server(answer) as server:
        teacher = teacher_of(server.url)
        assert teacher.generate(CHATS) == expected
        assert teacher.num_generated_tokens == local.num_generated_tokens > 0
        teacher.close()


def test_replies_keep_the_order_and_requests_run_in_parallel():
    def answer(body, number):
        time.sleep(0.05 * (number % 3))
        return 200, reply(body["messages"][0]["content"])

    with Server(answer) as server:
        replies = teacher_of(server.url, concurrency=4).generate(CHATS)
        assert replies == [chat[0]["content"] for chat in CHATS]
        assert 1 < server.most_busy <= 4


def test_a_server_that_counts_no_tokens_is_refused():
    """Only for the teacher: budgets and costs have its tokens, and not a judge's."""
    uncounted = {key: value for key, value in reply("yes").items() if key != "usage"}
    with Server(lambda *_: (200, uncounted)) as server:
        with pytest.raises(StudyError, match=r"^teacher\.openai: .* returns no `usage`, so that"):
            teacher_of(server.url).generate(CHATS)
        assert teacher_of(server.url, section="judge").generate(CHATS[:1]) == ["yes"]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"id": ',
        "no object",
        {"error": {"message": "overloaded"}},  # with status 200, as some proxies have it
        reply("yes") | {"choices": []},
        reply(["yes"]),
        reply("yes") | {"choices": [{"index": 0, "finish_reason": "stop", "message": None}]},
    ],
    ids=str,
)
def test_an_answer_that_is_no_chat_completion_is_a_failure(answer):
    with Server(lambda _, n: (200, answer if n <= 2 else None)) as server:
        with pytest.raises(StudyError, match=r"answer as model 'tutor': its answer is no"):
            teacher_of(server.url).generate(CHATS[:1])
        teacher = teacher_of(server.url, concurrency=1, on_failure="skip")
        assert teacher.generate(CHATS) == [None] * 6  # and the rest of the batch
        assert teacher.generate(CHATS) == ["ok"] * 6


def test_half_a_character_is_replaced():
    """It can be neither encoded nor stored."""
    with Server(lambda *_: (200, reply("So 4 \ud83d"))) as server:
        assert teacher_of(server.url).generate(CHATS[:1]) == ["So 4 ?"]


def test_a_truncated_reply_is_none():
    with Server(lambda *_: (200, reply("<opinion>corr", 7, "length"))) as server:
        teacher = teacher_of(server.url)
        assert teacher.generate(CHATS[:2]) == [None, None]
        assert teacher.num_generated_tokens == 14


@pytest.mark.parametrize("status", [429, 500, 503])
def test_requests_are_retried_until_the_server_recovers(status):
    busy = error("busy")
    with Server(lambda _, n: (status, busy) if n <= 2 else (200, None)) as server:
        assert teacher_of(server.url, max_retries=2).generate(CHATS[:1]) == ["ok"]
        assert len(server.requests) == 3


@pytest.mark.parametrize("on_failure", ["stop", "skip"])
def test_retries_end_if_the_server_stays_unavailable(on_failure):
    with Server(lambda *_: (503, error("busy"))) as server:
        teacher = teacher_of(server.url, max_retries=1, concurrency=1, on_failure=on_failure)
        if on_failure == "skip":
            assert teacher.generate(CHATS) == [None] * len(CHATS)
        else:
            with pytest.raises(StudyError, match=r"does not answer as model .tutor.*run again"):
                teacher.generate(CHATS)
        # two tries for the first chat; the others of the batch are not tried at all
        assert len(server.requests) == 2


def test_the_next_batch_is_tried_again():
    away = error("busy")
    with Server(lambda _, n: (503, away) if n == 1 else (200, None)) as server:
        teacher = teacher_of(server.url, max_retries=0, concurrency=1, on_failure="skip")
        assert teacher.generate(CHATS) == [None] * len(CHATS)
        assert teacher.generate(CHATS) == ["ok"] * len(CHATS)


def test_no_server():
    with Server(lambda *_: (200, None)) as server:
        url = server.url
    with pytest.raises(StudyError, match="Connection error"):
        teacher_of(url, max_retries=0).generate(CHATS)
    assert teacher_of(url, max_retries=0, on_failure="skip").generate(CHATS) == [None] * len(CHATS)


def test_a_server_that_hangs_costs_the_time_limit():
    free = threading.Event()
    with Server(lambda *_: (free.wait(20), (200, None))[1]) as server:
        started = time.perf_counter()
        with pytest.raises(StudyError, match="timed out"):
            teacher_of(server.url, timeout=0.3, max_retries=0).generate(CHATS[:1])
        assert time.perf_counter() - started < 10
        free.set()


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("on_failure", ["stop", "skip"])
def test_a_refused_key_or_model_always_stops(status, on_failure):
    with Server(lambda *_: (status, error("no such thing"))) as server:
        teacher = teacher_of(server.url, max_retries=3, concurrency=1, on_failure=on_failure)
        with pytest.raises(StudyError, match="no such thing"):
            teacher.generate(CHATS)
        assert len(server.requests) == 1


def test_a_chat_that_the_server_rejects_does_not_affect_the_others():
    def answer(body, _):
        too_long = body["messages"] == CHATS[1]
        return (400, error("context length exceeded")) if too_long else (200, None)

    with Server(answer) as server:
        teacher = teacher_of(server.url, concurrency=1, on_failure="skip")
        assert teacher.generate(CHATS[:3]) == ["ok", None, "ok"]
        with pytest.raises(StudyError, match="context length"):
            teacher_of(server.url, concurrency=1).generate(CHATS[:3])


def test_if_no_chat_is_answered_the_log_has_the_servers_error_once(caplog):
    broken = True

    def answer(*_):
        return (400, error("context length exceeded")) if broken else (200, None)

    with Server(answer) as server:
        teacher = teacher_of(server.url, on_failure="skip", section="judge")
        for _ in range(3):
            assert teacher.generate(CHATS) == [None] * len(CHATS)
        (text,) = [record.getMessage() for record in caplog.records]
        assert "judge.openai: " in text and "context length exceeded" in text
        broken = False
        assert teacher.generate(CHATS) == ["ok"] * len(CHATS)
        broken = True
        teacher.generate(CHATS)
        assert len(caplog.records) == 2, "it had answered again in between"


def test_replies_that_are_cut_off_are_no_failure_of_the_server(caplog):
    with Server(lambda *_: (200, reply("...", 7, "length"))) as server:
        assert teacher_of(server.url, on_failure="skip").generate(CHATS[:1]) == [None]
    assert not caplog.records


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (TeacherConfig, r"teacher\.openai: .*training resumes"),
        (JudgeConfig, r"judge\.openai: .*n$"),
    ],
)
def test_the_error_names_the_section_and_what_happens_next(kind, message):
    with Server(lambda *_: (404, error("no such model"))) as server:
        endpoint = {"base_url": server.url, "model": "x"}
        spec = kind.model_validate({"backend": "openai", "openai": endpoint})
        with pytest.raises(StudyError, match=message) as caught:
            connect(spec, None, "--model").generate(CHATS[:1])
    assert ("resumes" in str(caught.value)) == (kind is TeacherConfig)


def test_the_key_comes_from_the_environment(monkeypatch):
    with Server(lambda *_: (200, None)) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        teacher_of(server.url).generate(CHATS[:1])
        monkeypatch.delenv("OPENAI_API_KEY")
        teacher_of(server.url).generate(CHATS[:1])
        keys = [key for key, _ in server.requests]
        assert keys[0] == "Bearer secret" and "secret" not in keys[1]
