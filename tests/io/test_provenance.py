"""Provenance: the commit inside and outside a checkout, versions, peak memory."""

import platform
import subprocess

import pytest

from thinktuning.io import provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A directory in place of the package, outside any checkout."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    package = tmp_path / "package"
    monkeypatch.setattr(provenance, "__file__", str(package / "io" / "provenance.py"))
    (package / "io").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "io" / "provenance.py").write_text("pass\n")
    return package


def git(directory, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(directory), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_no_commit_outside_a_checkout(package):
    assert provenance.commit() is None


def test_no_commit_inside_another_projects_checkout(package):
    git(package.parent, "init")
    (package.parent / "theirs.py").touch()
    git(package.parent, "add", "theirs.py")
    git(package.parent, "commit", "-m", "theirs")
    assert provenance.commit() is None


def test_no_commit_without_git(package, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() is None


def test_the_commit_is_dirty_if_tracked_files_of_the_package_changed(package):
    git(package.parent, "init")
    (package.parent / "README.md").touch()
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-m", "ours")
    git(package.parent, "tag", "-a", "v1", "-m", "a release is still named by its commit")
    head = git(package.parent, "rev-parse", "HEAD")
    assert provenance.commit() == head
    (package / "untracked").touch()
    (package.parent / "README.md").write_text("a table that `make snapshot` has updated\n")
    assert provenance.commit() == head
    (package / "io" / "provenance.py").write_text("changed\n")
    assert provenance.commit() == f"{head}-dirty"


def test_collect(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("pytest", "no-such-package"))
    monkeypatch.setattr(provenance, "commit", lambda: "abc")
    assert provenance.collect() == {
        "commit": "abc",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {"pytest": pytest.__version__},
    }


def test_every_listed_package_is_installed():
    always = [name for name in provenance.PACKAGES if name != "vllm"]
    assert all(provenance.installed_version(name) for name in always)


def test_peak_memory_is_in_mib():
    block = bytearray(200 * 2**20)
    block[::4096] = b"x" * len(block[::4096])  # touch every page
    assert 200 < provenance.peak_memory_mb() < 100_000
