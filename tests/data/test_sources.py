"""Question sources, and user errors in them."""

import json
from pathlib import Path

import pytest

from thinktuning.data.config import HubConfig, JsonlConfig, ReasoningGymConfig
from thinktuning.data.sources import load_rows
from thinktuning.io import files
from thinktuning.io.errors import StudyError

REVISION = "0123456789abcdef0123456789abcdef01234567"
SUMS = {"min_terms": 3, "max_terms": 3, "min_digits": 1, "max_digits": 1}


def gym(generator: str = "chain_sum", size: int = 5, seed: int = 0, **params) -> ReasoningGymConfig:
    return ReasoningGymConfig(
        source="reasoning_gym", generator=generator, size=size, seed=seed, params=params
    )


def jsonl(tmp_path: Path, *lines: str | dict, **fields) -> JsonlConfig:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(x + "\n" if isinstance(x, str) else json.dumps(x) + "\n" for x in lines)
    )
    return JsonlConfig(source="jsonl", path=str(path), **fields)


def test_reasoning_gym_rows():
    first = load_rows(gym(size=2, seed=1, **SUMS), "number", "sums", "data.train")[0]
    assert first == {
        "id": "sums-0",
        "question": "State the final answer to the following arithmetic problem: 4 - 1 - 7 =",
        "answer": "-4",
        "solution": "4 - 1 = 3\n3 - 7 = -4",  # from thinktuning.models.sums
        "source": "reasoning_gym:chain_sum",
    }


def test_reasoning_gym_item_i_is_drawn_from_seed_plus_i():
    """So two sources with the same generator need seeds at least a size apart."""
    low = load_rows(gym(size=5, seed=0, **SUMS), "number", "a", "data.train")
    high = load_rows(gym(size=5, seed=3, **SUMS), "number", "b", "data.train")
    assert [row["question"] for row in low[3:]] == [row["question"] for row in high[:2]]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (gym("chain_sums"), r"data\.train\.generator: .*'chain_sums'; choose from chain_sum"),
        (gym(terms=3), r"data\.train\.params: chain_sum refuses .*'terms'"),
        (gym(min_terms=0), r"data\.train\.params: .*min_terms must be positive"),
        (gym(min_terms="three"), r"data\.train\.params: chain_sum refuses"),
        (gym().model_copy(update={"params": {"seed": 4}}), r"params: move \['seed'\] out of"),
        (gym("word_sorting"), r"reasoning_gym:word_sorting\[0\]: .*answer_kind"),
    ],
)
def test_invalid_reasoning_gym_sources(source, message):
    with pytest.raises(StudyError, match=message):
        load_rows(source, "number", "train", "data.train")


def test_gsm8k_rows_work_unchanged(tmp_path):
    source = jsonl(
        tmp_path,
        {"question": "How many?", "answer": "She has 2*600=<<2*600=1200>>1200.\n#### 1,200"},
        {"question": "And now?", "answer": "#### -3"},
    )
    loaded = load_rows(source, "number", "gsm8k", "data.train")
    assert [(row["id"], row["answer"]) for row in loaded] == [
        ("gsm8k-0", "1200"),
        ("gsm8k-1", "-3"),
    ]


def test_jsonl_fields_and_limit(tmp_path):
    source = jsonl(
        tmp_path,
        {"q": "1 + 1 =", "a": 2, "key": 7},
        {"q": "2 + 2 =", "a": "4.50", "key": "x"},
        "not JSON, but after the limit",
        question_field="q",
        answer_field="a",
        id_field="key",
        limit=2,
    )
    loaded = load_rows(source, "number", "t", "data.train")
    assert [(row["id"], row["answer"]) for row in loaded] == [("7", "2"), ("x", "4.50")]


def test_every_bad_row_is_named_up_to_ten(tmp_path):
    bad: list[str | dict] = [
        {"question": "1 + 1 =", "answer": "2"},
        "{",
        {"question": "1 + 2 ="},
        {"question": "1 + 3 =", "answer": "four"},
        {"question": " ", "answer": "4"},
        {"question": "1 + 4 =", "answer": None},
        *["[]"] * 7,
    ]
    with pytest.raises(StudyError) as caught:
        load_rows(jsonl(tmp_path, *bad), "number", "train", "data.train")
    lines = str(caught.value).splitlines()
    assert lines[0] == "data.train: 12 rows cannot be used:"
    assert "rows.jsonl:2: is not valid JSON" in lines[1]
    assert "rows.jsonl:3: field 'answer' is missing; the record has ['question']" in lines[2]
    assert "rows.jsonl:4: gold answer 'four'" in lines[3]
    assert "rows.jsonl:5: field 'question' is ' '" in lines[4]
    assert "rows.jsonl:6: field 'answer' is None" in lines[5]
    assert lines[11:] == ["  and 2 more"]


def test_bad_golds_are_dropped_and_sorted_by_reason(tmp_path):
    """A gold answer that cannot be graded is dropped; a row that is no JSON is still refused."""
    answers = [r"\frac{2}{4}", "1=1", "x = 3", r"\frac{1}{", "0/0", "4 = 3", "", "???", "9" * 3000]
    rows = [
        {"question": f"Question {i}", "answer": answer or " "} for i, answer in enumerate(answers)
    ]
    rows[6]["answer"] = "..."
    dropped = {}
    loaded = load_rows(jsonl(tmp_path, *rows), "latex", "t", "data.train", dropped)
    assert [(row["id"], row["answer"]) for row in loaded] == [
        ("t-0", r"\frac{2}{4}"),
        ("t-2", "x = 3"),
    ]
    numbers = {
        reason: [int(place.rsplit(":", 1)[1]) for place in places]
        for reason, places in dropped.items()
    }
    assert numbers == {
        "no solutions, or a tautology": [2],
        "not LaTeX with a value": [4, 5],
        "a chain of different values": [6],
        "empty or a placeholder": [7, 8],
        "too long": [9],
    }
    with pytest.raises(StudyError, match=r"7 rows cannot be used:(.|\n)*data.on_bad_gold: drop"):
        load_rows(jsonl(tmp_path, *rows), "latex", "t", "data.train")
    with pytest.raises(StudyError, match="1 rows cannot be used"):
        load_rows(jsonl(tmp_path, rows[0], "{"), "latex", "t", "data.train", {})
    with pytest.raises(StudyError, match="has no rows: all its gold answers were dropped"):
        load_rows(jsonl(tmp_path, rows[1]), "latex", "t", "data.train", {})


def test_missing_file_empty_file_and_repeated_ids(tmp_path):
    missing = JsonlConfig(source="jsonl", path="nowhere/train.jsonl")
    with pytest.raises(StudyError, match=r"tasks\.t\.data\.path: there is no file nowhere"):
        load_rows(missing, "number", "t", "tasks.t.data")
    with pytest.raises(StudyError, match=r"data\.train: jsonl:.* has no rows"):
        load_rows(jsonl(tmp_path), "number", "t", "data.train")
    same = [{"question": f"{i} + 1 =", "answer": "2", "id": "a"} for i in (1, 2)]
    with pytest.raises(StudyError, match=r"data\.train: ids repeat, e\.g\. \['a'\]; set id_field"):
        load_rows(jsonl(tmp_path, *same, id_field="id"), "number", "t", "data.train")


def test_hub_layout_in_a_local_directory(tmp_path, monkeypatch):
    """Uses the real `datasets.load_dataset`, on a directory laid out like a repository."""
    repo = tmp_path / "gsm"
    repo.mkdir()
    jsonl(repo, *({"problem": f"{i} + 1 =", "answer": i + 1} for i in range(3)))
    (repo / "rows.jsonl").rename(repo / "test.jsonl")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    fields = {"repo": str(repo), "revision": REVISION, "question_field": "problem", "limit": 2}
    source = HubConfig(source="hub", split="test", **fields)
    loaded = load_rows(source, "number", "gsm", "tasks.gsm.data")
    assert [(row["question"], row["answer"]) for row in loaded] == [
        ("0 + 1 =", "1"),
        ("1 + 1 =", "2"),
    ]
    wrong = HubConfig(source="hub", split="train", **fields)
    with pytest.raises(StudyError, match=r"tasks\.gsm\.data: .*split train.* cannot be loaded"):
        load_rows(wrong, "number", "gsm", "tasks.gsm.data")


def test_hub_offline_and_gated(monkeypatch):
    import datasets

    source = HubConfig(source="hub", repo="openai/gsm8k", revision=REVISION, split="test")
    with pytest.raises(StudyError, match=r"data\.train\.repo: .*once with network access"):
        load_rows(source, "number", "train", "data.train")

    def gated(*args, **kwargs):
        raise datasets.exceptions.DatasetNotFoundError("'openai/gsm8k' is a gated dataset")

    monkeypatch.setattr(datasets, "load_dataset", gated)
    with pytest.raises(StudyError, match="HF_TOKEN"):
        load_rows(source, "number", "train", "data.train")


def test_a_record_with_two_answers_is_refused(tmp_path):
    """JSON keeps the last one."""
    twice = '{"question": "1 + 1 =", "answer": "2", "answer": "3"}'
    with pytest.raises(StudyError, match=r"rows\.jsonl:1: is not valid .*it has 'answer' twice"):
        load_rows(jsonl(tmp_path, twice), "number", "train", "data.train")


def test_a_directory_is_not_read_in_place_of_the_hubs_data(tmp_path, monkeypatch):
    """`datasets` would take it, at whatever revision."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner/sums").mkdir(parents=True)
    files.write_jsonl(tmp_path / "owner/sums/test.jsonl", [{"question": "1 =", "answer": "1"}] * 2)
    source = HubConfig(source="hub", repo="owner/sums", revision="0" * 40, split="test")
    with pytest.raises(StudyError, match=r"^data\.train\.repo: owner/sums is also in .*; move it"):
        load_rows(source, "number", "train", "data.train")
