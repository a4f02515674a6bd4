"""Bars of real tqdm in a job's log."""

from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from thinktuning.io.bars import TAIL, Bar, last_bar


def draw(path, total, done, mode="a", **figures):
    with path.open(mode, encoding="utf-8") as file:
        bar = tqdm(total=total, desc="train", unit="batch", file=file, mininterval=0)
        bar.set_postfix({name: f"{value:.2f}" for name, value in figures.items()}, refresh=False)
        bar.update(done)
        bar.close()


def test_the_last_bar_of_a_log(tmp_path):
    log = tmp_path / "train.log"
    draw(log, 50, 12, student_reward=0.3)
    with log.open("a") as file:
        file.write("a warning | with 1/2 [bars] 50%\n" + "\u2588" * TAIL)  # cut within a character
    assert last_bar(log) is None
    draw(log, 50, 31, student_reward=0.417, reflection_rate=-1)
    assert last_bar(log) == Bar("train", 31, 50, {"student_reward": 0.42, "reflection_rate": -1.0})
    draw(log, 1, 1)  # "Writing model shards": says nothing
    assert last_bar(log).total == 50


def test_no_log_and_no_bar(tmp_path):
    assert last_bar(tmp_path / "absent.log") is None
    assert last_bar(tmp_path) is None
    (tmp_path / "empty.log").touch()
    assert last_bar(tmp_path / "empty.log") is None


@given(st.binary(max_size=300))
def test_any_log_can_be_read(tmp_path_factory, content):
    log = tmp_path_factory.getbasetemp() / "any.log"
    log.write_bytes(content)
    last_bar(log)
