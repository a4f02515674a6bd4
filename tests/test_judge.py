"""The judge of behaviours: what is asked, how replies are read, and what is missing."""

import pytest
from openai_server import Server, reply

from thinktuning.config import JudgeRun
from thinktuning.errors import StudyError
from thinktuning.files import read_jsonl, write_jsonl
from thinktuning.judge import judge, parse
from thinktuning.schema import Judge


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<behaviours>self_conflict</behaviours>", ["self_conflict"]),
        (
            "<behaviours> self_critique , self_conflict </behaviours>\n",
            ["self_conflict", "self_critique"],
        ),
        ("The writer doubts. <behaviours>none</behaviours>", []),
        ("<behaviours></behaviours>", None),
        ("<behaviours>doubt</behaviours>", None),
        ("<behaviours>none, self_conflict</behaviours>", None),
        ("<behaviours>none</behaviours> or <behaviours>self_conflict</behaviours>", None),
        ("self_conflict", None),
        (None, None),
    ],
)
def test_a_reply_names_behaviours_or_is_missing(text, expected):
    assert parse(text) == expected


@pytest.fixture
def kept(tmp_path):
    """Prepared questions, and two answers to each."""
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
                "behaviours": ["self_conflict"] * k,
            }
            for i in range(5)
            for k in range(2)
        ],
    )
    return samples, data


def run_of(url, **settings):
    openai = {"base_url": url, "model": "judge", "max_retries": 0, "timeout": 5.0}
    openai |= {key: settings.pop(key) for key in ("on_failure",) if key in settings}
    spec = Judge.model_validate({"backend": "openai", "openai": openai} | settings)
    return JudgeRun(answer_kind="number", judge=spec)


def test_a_server_judges_each_answer_with_its_question(kept, tmp_path):
    def answer(body, _):
        asked = body["messages"][-1]["content"]
        if "What is 3?" in asked:
            return 200, reply("I cannot say.")
        named = "self_conflict" if "Response:\nWait, no." in asked else "none"
        return 200, reply(f"<behaviours>{named}</behaviours>")

    with Server(answer) as server:
        judge(run_of(server.url, batch_size=4), *kept, tmp_path / "judgements.jsonl")
        assert len(server.requests) == 10
    rows = {(r["id"], r["sample"]): r for r in read_jsonl(tmp_path / "judgements.jsonl")}
    assert len(rows) == 10
    for (question, sample), row in rows.items():
        assert row["lexical"] == ["self_conflict"] * sample
        assert row["judge"] == (None if question == "q3" else ["self_conflict"] * sample)


def test_only_so_many_answers_are_judged_the_same_ones_each_time(kept, tmp_path):
    with Server(lambda *_: (200, reply("<behaviours>none</behaviours>"))) as server:
        for name in ("a", "b"):
            judge(run_of(server.url, num_samples=4), *kept, tmp_path / name)
        assert len(server.requests) == 8
    assert list(read_jsonl(tmp_path / "a")) == list(read_jsonl(tmp_path / "b"))
    assert len(list(read_jsonl(tmp_path / "a"))) == 4


def test_a_server_that_is_away_stops_or_leaves_answers_missing(kept, tmp_path):
    url = "http://127.0.0.1:9/v1"  # nobody listens
    with pytest.raises(StudyError):
        judge(run_of(url), *kept, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    judge(run_of(url, on_failure="skip"), *kept, tmp_path / "out.jsonl")
    assert {row["judge"] for row in read_jsonl(tmp_path / "out.jsonl")} == {None}


def test_a_local_model_judges(kept, tmp_path, tiny_model_dir):
    spec = Judge.model_validate(
        {
            "backend": "model",
            "model": {"source": "path", "path": "x"},
            "num_samples": 2,
            "max_completion_length": 4,
        }
    )
    run = JudgeRun(answer_kind="number", judge=spec)
    judge(run, *kept, tmp_path / "out.jsonl", tiny_model_dir)
    assert [row["judge"] for row in read_jsonl(tmp_path / "out.jsonl")] == [None, None]
    with pytest.raises(StudyError, match=r"--model: .*name the directory of that model"):
        judge(run, *kept, tmp_path / "other.jsonl")


def test_answers_to_other_questions_are_refused(kept, tmp_path):
    samples, data = kept
    write_jsonl(data, list(read_jsonl(data))[:3])
    with pytest.raises(StudyError, match=r"samples\.jsonl: 4 answers to questions that are not in"):
        judge(run_of("http://127.0.0.1:9/v1"), samples, data, tmp_path / "out.jsonl")
