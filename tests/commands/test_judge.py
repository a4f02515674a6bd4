"""The judge of behaviors: its prompts, how replies are parsed, and which are missing."""

import pytest
from openai_server import Server, reply

from thinktuning.commands.judge import judge, parse
from thinktuning.evaluation.config import JudgeConfig
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, write_jsonl
from thinktuning.study.jobs import JudgeJob


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<behaviors>self_conflict</behaviors>", ["self_conflict"]),
        (
            "<behaviors> self_critique , self_conflict </behaviors>\n",
            ["self_conflict", "self_critique"],
        ),
        ("The writer doubts. <behaviors>none</behaviors>", []),
        ("<behaviors></behaviors>", None),
        ("<behaviors>doubt</behaviors>", None),
        ("<behaviors>none, self_conflict</behaviors>", None),
        ("<behaviors>none</behaviors> or <behaviors>self_conflict</behaviors>", None),
        ("self_conflict", None),
        (None, None),
    ],
)
def test_a_reply_names_behaviors_or_is_missing(text, expected):
    assert parse(text) == expected


@pytest.fixture
def stored(tmp_path):
    """Stored answers, two per question, and the prepared questions."""
    data, samples = tmp_path / "questions.jsonl", tmp_path / "samples.jsonl"
    write_jsonl(
        data, [{"id": f"q{i}", "question": f"What is {i}?", "answer": str(i)} for i in range(5)]
    )
    write_jsonl(
        samples,
        [
            {
                "id": f"q{i}",
                "sample": k,
                "text": "Wait, no." if k else "It is.",
                "behaviors": ["self_conflict"] * k,
            }
            for i in range(5)
            for k in range(2)
        ],
    )
    return samples, data


def judge_job(url, **settings):
    openai = {"base_url": url, "model": "judge", "max_retries": 0, "timeout": 5.0}
    openai |= {key: settings.pop(key) for key in ("on_failure",) if key in settings}
    spec = JudgeConfig.model_validate({"backend": "openai", "openai": openai} | settings)
    return JudgeJob(answer_kind="number", judge=spec)


def test_a_server_judges_each_answer_with_its_question(stored, tmp_path):
    def answer(body, _):
        asked = body["messages"][-1]["content"]
        if "What is 3?" in asked:
            return 200, reply("I cannot say.")
        named = "self_conflict" if "Response:\nWait, no." in asked else "none"
        return 200, reply(f"<behaviors>{named}</behaviors>")

    with Server(answer) as server:
        judge(judge_job(server.url, batch_size=4), *stored, tmp_path / "judgments.jsonl")
        assert len(server.requests) == 10
    rows = {(r["id"], r["sample"]): r for r in read_jsonl(tmp_path / "judgments.jsonl")}
    assert len(rows) == 10
    for (question, sample), row in rows.items():
        assert row["lexical"] == ["self_conflict"] * sample
        assert row["judge"] == (None if question == "q3" else ["self_conflict"] * sample)


def test_the_same_answers_are_judged_again_by_another_judge_only(stored, tmp_path):
    output = tmp_path / "judgments.jsonl"
    with Server(lambda *_: (200, reply("<behaviors>none</behaviors>"))) as server:
        for _ in range(2):
            judge(judge_job(server.url), *stored, output)
        assert len(server.requests) == 10
        judge(judge_job(server.url, num_samples=4), *stored, output)
        assert len(server.requests) == 14
        samples, _ = stored
        rows = list(read_jsonl(samples))
        write_jsonl(samples, [rows[0] | {"text": "Another."}, *rows[1:]])
        judge(judge_job(server.url, num_samples=4), *stored, output)
        assert len(server.requests) == 18
    assert {path.name for path in tmp_path.glob(".*")} == set()


def test_num_samples_answers_are_judged_the_same_ones_each_time(stored, tmp_path):
    with Server(lambda *_: (200, reply("<behaviors>none</behaviors>"))) as server:
        for name in ("a", "b"):
            judge(judge_job(server.url, num_samples=4), *stored, tmp_path / name)
        assert len(server.requests) == 8
    assert list(read_jsonl(tmp_path / "a")) == list(read_jsonl(tmp_path / "b"))
    assert len(list(read_jsonl(tmp_path / "a"))) == 4


def test_a_server_that_is_down_stops_the_job_or_leaves_answers_missing(stored, tmp_path):
    url = "http://127.0.0.1:9/v1"  # nothing listens there
    with pytest.raises(StudyError):
        judge(judge_job(url), *stored, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    judge(judge_job(url, on_failure="skip"), *stored, tmp_path / "out.jsonl")
    assert {row["judge"] for row in read_jsonl(tmp_path / "out.jsonl")} == {None}


@pytest.mark.parametrize("usable", [0, 1])
def test_a_judge_without_one_usable_reply_is_named(stored, tmp_path, caplog, usable):
    def answer(_, number):
        return 200, reply("<behaviors>none</behaviors>" if number <= usable else "I cannot say.")

    with Server(answer) as server:
        judge(judge_job(server.url), *stored, tmp_path / "out.jsonl")
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 1 - usable
    assert all("None of the judge's 10 replies" in t and "'I cannot say.'" in t for t in texts)


def test_a_local_model_judges(stored, tmp_path, tiny_model_dir):
    spec = JudgeConfig.model_validate(
        {
            "backend": "model",
            "model": {"source": "path", "path": "x"},
            "num_samples": 2,
            "max_completion_length": 4,
        }
    )
    job = JudgeJob(answer_kind="number", judge=spec)
    judge(job, *stored, tmp_path / "out.jsonl", tiny_model_dir)
    assert [row["judge"] for row in read_jsonl(tmp_path / "out.jsonl")] == [None, None]
    with pytest.raises(StudyError, match=r"--model: .*give the model's directory"):
        judge(job, *stored, tmp_path / "other.jsonl")


def test_answers_to_other_questions_are_refused(stored, tmp_path):
    samples, data = stored
    write_jsonl(data, list(read_jsonl(data))[:3])
    with pytest.raises(StudyError, match=r"samples\.jsonl: 4 answers to questions that are not in"):
        judge(judge_job("http://127.0.0.1:9/v1"), samples, data, tmp_path / "out.jsonl")
