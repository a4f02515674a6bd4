"""Text, JSONL and YAML files: any text survives, and errors name file and line."""

import errno
import os

import pytest

from thinktuning.io import files
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_yaml


def test_jsonl_round_trip_keeps_any_text(tmp_path):
    written = [{"text": "π \u2028 \n \ud800"}, {"n": [1, None]}]
    files.write_jsonl(tmp_path / "new" / "a.jsonl", written)
    assert list(files.read_jsonl(tmp_path / "new" / "a.jsonl")) == written
    assert os.listdir(tmp_path / "new") == ["a.jsonl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n\n{"a": \n', r"rows\.jsonl:3: is not valid JSON"),
        (b'{"a": 1}\n[1]\n', r"rows\.jsonl:2: expected a JSON object, found list"),
        (b'{"a": 1}\n{"a": "\xff"}\n', r"rows\.jsonl:2: is not UTF-8"),
    ],
)
def test_read_jsonl_names_file_and_line(tmp_path, content, message):
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(StudyError, match=message):
        list(files.read_jsonl(tmp_path / "rows.jsonl"))


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write_text_atomic(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StudyError, match=r"a\.txt: no space left"):
        files.write_text_atomic(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_write_jsonl_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        files.write_jsonl(tmp_path / "a.jsonl", [{"loss": float("nan")}])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods:\n  a: {}\n  b: {}\n  a: {}\n", "duplicate key 'a'; (?s:.*)line 4"),
        ("a: 1\n'a': 2\n", "duplicate key 'a'"),
        ('a: "\\ud800"\n', r"half of a surrogate pair, which is no character; (?s:.*)line 1"),
        ("a: 1\nname: 2024-99-99\n", "YAML's type timestamp is not read here; quote (?s:.*)line 2"),
        ("a: 2024-07-26 10:00:00\n", "type timestamp is not read here; quote it to make it text"),
        ("a: !!set {x, y}\n", "type set is not read here; write a list"),
        ("a: !!binary aGk=\n", "type binary is not read here"),
        ("b: 1\na: &a {x: *a}\n", r"\*a stands within the value that it names; (?s:.*)line 2"),
        ("a: &a [1, [*a]]\n", r"\*a stands within the value that it names"),
        ("[" * 5000, "recursion"),
    ],
)
def test_yaml_that_is_refused(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=rf"study\.yaml: is not valid YAML: (?s:.*){message}"):
        read_yaml(path)


def test_an_alias_may_stand_beside_what_it_names_and_a_quoted_date_is_text(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a: &a {x: '2024-07-26'}\nb: &b [*a]\nc: [*a, *b]\n")
    date = {"x": "2024-07-26"}
    assert read_yaml(path) == {"a": date, "b": [date], "c": [date, [date]]}


def test_a_merged_anchors_keys_may_be_overridden(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}\n")
    assert read_yaml(path)["c"] == {"x": 3, "y": 4}


@pytest.mark.parametrize(
    "number", ["010", "0o10", "0x1F", "0b11", "1_000", "1:30", "1:30.5", "-007", "1_0.5", "00"]
)
def test_a_number_that_yaml_reads_otherwise_is_refused(tmp_path, number):
    """YAML 1.1: 010 is 8, 1:30 is 90, 1_000 is 1000. Quoted, it is text."""
    path = tmp_path / "study.yaml"
    path.write_text(f"a: 1\nsize: {number}\n")
    try:
        value = read_yaml(path)["size"]
    except StudyError as error:
        assert f"the number '{number}' is not in plain decimal notation" in str(error)
        assert "line 2" in str(error)
    else:
        assert value == number  # text, which the schema refuses by its key
    path.write_text(f"size: '{number}'\n")
    assert read_yaml(path) == {"size": number}


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-12", -12), ("+3", 3), ("1.50", 1.5), (".5", 0.5), ("1.0e-5", 1e-5), ("2.", 2.0)],
)
def test_plain_numbers(tmp_path, text, value):
    path = tmp_path / "study.yaml"
    path.write_text(f"size: {text}\n")
    read = read_yaml(path)["size"]
    assert read == value and type(read) is type(value)
