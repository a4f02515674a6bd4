"""Hashes of named files: by content, whatever the time stamps."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from thinktuning.io import contents
from thinktuning.io.contents import hashes


@pytest.fixture
def small_is_large(monkeypatch):
    """Remember the hashes of all files that have not changed for 10 ms."""
    monkeypatch.setattr(contents, "LARGE", 0)
    monkeypatch.setattr(contents, "SETTLED", 0.01)


def test_the_hash_is_that_of_the_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    found = hashes({"a": path, "missing": tmp_path / "b", "directory": tmp_path})
    one = hashlib.sha256(b"one").hexdigest()
    assert found == {"a": one, "missing": None, "directory": None}


def test_a_remembered_hash_is_used_until_the_file_changes(tmp_path, small_is_large, monkeypatch):
    path, memory = tmp_path / "a", tmp_path / "memory/hashes.json"
    path.write_bytes(b"one")
    time.sleep(0.05)
    first = hashes({"a": path}, memory)
    assert list(json.loads(memory.read_text())) == [str(path)]
    with monkeypatch.context() as patch:
        patch.setattr(contents, "sha256", lambda path: "read again")
        assert hashes({"a": path}, memory) == first
    times = path.stat()
    path.write_bytes(b"two")  # of the same size,
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # and with the same time
    assert hashes({"a": path}, memory) == {"a": hashlib.sha256(b"two").hexdigest()}


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path, monkeypatch):
    """It may change again within the resolution of the file system's clock."""
    monkeypatch.setattr(contents, "LARGE", 0)
    path, memory = tmp_path / "a", tmp_path / "hashes.json"
    path.write_bytes(b"one")
    hashes({"a": path}, memory)
    assert not memory.exists()


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"a": 1}', '{"a": [1, 2]}'])
def test_a_damaged_memory_is_made_anew(tmp_path, small_is_large, damage):
    path, memory = Path(tmp_path / "a"), tmp_path / "hashes.json"
    path.write_bytes(b"one")
    memory.write_text(damage)
    time.sleep(0.05)
    assert hashes({"a": path}, memory) == {"a": hashlib.sha256(b"one").hexdigest()}
    assert str(path) in json.loads(memory.read_text())
