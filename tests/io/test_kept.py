"""Results that outlive Snakemake's deletions, as long as they are valid."""

import pytest

from thinktuning.io.kept import forget, keep, recover, set_aside

NAMES = ("rows", "summary")


def write(directory, version):
    for name in NAMES:
        (directory / name).write_text(version)


def is_new(directory):
    try:
        return {(directory / name).read_text() for name in NAMES} == {"new"}
    except OSError:
        return False


def delete(directory, names=NAMES):
    """Delete outputs, as Snakemake does before a job and after a failure."""
    for name in names:
        (directory / name).unlink()


def there(directory):
    return {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}


def test_what_was_set_aside_comes_back_if_it_is_valid(tmp_path):
    write(tmp_path, "new")
    set_aside(tmp_path, NAMES)
    delete(tmp_path)
    assert not recover(tmp_path, NAMES, lambda _: False)
    assert there(tmp_path) == {}
    assert recover(tmp_path, NAMES, is_new)
    assert there(tmp_path) == dict.fromkeys(NAMES, "new")
    forget(tmp_path, NAMES)
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)


@pytest.mark.parametrize("deleted", NAMES)
@pytest.mark.parametrize("again", [True, False], ids=["by Snakemake", "by hand"])
def test_what_the_user_deletes_does_not_come_back(tmp_path, deleted, again):
    """Not even if it was set aside or finished earlier, by a job that did not end."""
    write(tmp_path, "new")
    set_aside(tmp_path, NAMES)
    keep(tmp_path, NAMES)
    delete(tmp_path, [deleted])
    if again:
        set_aside(tmp_path, NAMES)
    assert not recover(tmp_path, NAMES, is_new)


def test_what_snakemake_deletes_comes_back_in_its_next_call(tmp_path):
    """The first call's job ended before it could look, e.g. for want of memory."""
    write(tmp_path, "new")
    set_aside(tmp_path, NAMES)
    delete(tmp_path)
    set_aside(tmp_path, NAMES)
    assert recover(tmp_path, NAMES, is_new)


def test_what_a_job_has_finished_outlives_its_failures(tmp_path):
    write(tmp_path, "old")
    set_aside(tmp_path, NAMES)
    delete(tmp_path)
    for _ in range(3):
        if not recover(tmp_path, NAMES, is_new):
            write(tmp_path, "new")
            keep(tmp_path, NAMES)
        delete(tmp_path)
        set_aside(tmp_path, NAMES)
    assert recover(tmp_path, NAMES, is_new)


def test_valid_results_outlive_a_failure_of_the_job_that_found_them(tmp_path):
    write(tmp_path, "new")
    set_aside(tmp_path, NAMES)
    assert recover(tmp_path, NAMES, is_new)
    delete(tmp_path)
    set_aside(tmp_path, NAMES)
    assert recover(tmp_path, NAMES, is_new)


def test_results_in_place_need_no_copy(tmp_path):
    write(tmp_path, "new")
    assert recover(tmp_path, NAMES, is_new)
    forget(tmp_path, NAMES)
    assert recover(tmp_path, NAMES, is_new)


def test_a_copy_that_was_cut_off_is_not_taken(tmp_path):
    write(tmp_path, "new")
    set_aside(tmp_path, NAMES)
    (kept,) = (path for path in tmp_path.iterdir() if path.is_dir())
    delete(kept, ["summary"])
    delete(tmp_path)
    assert not recover(tmp_path, NAMES, is_new)


def test_two_jobs_keep_their_files_of_one_directory_apart(tmp_path):
    write(tmp_path, "new")
    (tmp_path / "other").write_text("new")
    set_aside(tmp_path, NAMES)
    set_aside(tmp_path, ["other"])
    delete(tmp_path, [*NAMES, "other"])
    forget(tmp_path, NAMES)
    assert recover(tmp_path, ["other"], lambda place: (place / "other").is_file())
    assert not recover(tmp_path, NAMES, is_new)


def test_nothing_is_made_of_nothing(tmp_path):
    absent = tmp_path / "absent"
    set_aside(absent, NAMES)
    assert not recover(absent, NAMES, is_new)
    forget(absent, NAMES)
    assert not absent.exists()
