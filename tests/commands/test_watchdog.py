"""A run that nobody teaches, or that cannot learn, says so while it runs, and may be stopped."""

import shutil

import pytest
from finished_run import untimed
from openai_server import Server, error, reply, solve
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from thinktuning.algorithms.grpo import GRPOAlgorithmConfig
from thinktuning.algorithms.rft import RFT, RFTAlgorithmConfig
from thinktuning.algorithms.sdpo import SDPOAlgorithmConfig
from thinktuning.algorithms.sft import SFT, SFTAlgorithmConfig
from thinktuning.algorithms.thinktuning import ThinkTuning, ThinkTuningAlgorithmConfig
from thinktuning.commands.train import train
from thinktuning.commands.watchdog import Watchdog, doubled
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl
from thinktuning.teachers.protocol import Teacher

REFUSES = "this model's maximum context length is 16"


def refuse(*_):
    """Refuse each chat, as a server does whose context is too short."""
    return 400, error(REFUSES)


def prattle(*_):
    """Reply in no form at all."""
    return 200, reply("I\x1b[31m do not\nknow. " * 20)


def job_of(resolve, server, limit, **training):
    """Return a job of six batches with a teacher behind a server, which teaches in all of them."""
    endpoint = {"base_url": server.url, "model": "tutor", "on_failure": "skip", "max_retries": 0}
    schedule = {"kind": "constant", "init": 0.4, "min": 0.05, "cutoff": None}
    return resolve(
        teacher={"backend": "openai", "openai": endpoint},
        algorithm={"max_untaught_batches": limit, "schedule": schedule},
        **training,
    )


def warned(caplog):
    """Return the warnings of our own loggers."""
    return [record.getMessage() for record in caplog.records if "thinktuning" in record.name]


@pytest.mark.parametrize("answer", [refuse, prattle])
def test_a_teacher_without_usable_replies_stops_the_run(training, tmp_path, caplog, answer):
    resolve, model, data = training
    with Server(answer) as server:
        job = job_of(resolve, server, 3)
        with pytest.raises(StudyError, match=r"in 3 rollout batches in a row .*taught 0 of (\d+)"):
            train(job, model, data, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoints"}
    assert (tmp_path / "run/checkpoints/checkpoint-4").exists()
    rows = list(read_jsonl(tmp_path / "run/checkpoints/metrics.jsonl"))
    assert len(rows) == 3 and all(row["num_unparsed"] == row["num_asked"] > 0 for row in rows)
    texts = warned(caplog)
    first, second = [text for text in texts if text.startswith("Rollout batch")]
    assert "Likely causes: " in first and "(2 batches in a row)" in second
    if answer is refuse:
        assert " did not arrive or end, and 0 are malformed" in first
        assert sum(REFUSES in text for text in texts) == 1, "the server's own words, once"
    else:
        assert r"The first malformed reply: 'I\x1b[31m do not\nknow. I" in first
        assert "teacher.prompt" in first and "max_completion_length" not in first


def test_a_resumed_run_counts_the_batches_before_it(training, tmp_path):
    """Two bad batches are before the checkpoint: after it the third one is enough to stop."""
    resolve, model, data = training
    with Server(prattle) as server:
        job = job_of(resolve, server, 3)
        for _ in range(2):
            with pytest.raises(StudyError, match="in 3 rollout batches in a row"):
                train(job, model, data, tmp_path / "run")
        rows = list(read_jsonl(tmp_path / "run/checkpoints/metrics.jsonl"))
        assert [row["rollout_batch"] for row in rows] == [1, 2, 3]
        server.answer = solve  # found and put right: the same job goes on
        train(job, model, data, tmp_path / "run")
    taught = [row["num_taught"] > 0 for row in untimed(tmp_path / "run")]
    assert taught == [False, False, True, True, True, True]


def test_without_a_limit_the_run_ends_and_says_what_it_was(training, tmp_path, caplog):
    resolve, model, data = training
    with Server(prattle) as server:
        train(job_of(resolve, server, None), model, data, tmp_path / "run")
    texts = warned(caplog)
    named = [text.split(":")[0] for text in texts if text.startswith("Rollout batch")]
    assert named == [f"Rollout batch {n}" for n in (1, 2, 4, 5)]
    assert "5: this run is not learning, 5 batches in a row: in every group" in texts[-3]
    assert texts[-2].startswith("Nobody was taught, in 6 rollout batches with guidance.")
    assert texts[-1].startswith("6 of 6 rollout batches gave no signal.")
    assert all(row["no_signal"] == 1 for row in untimed(tmp_path / "run"))


def test_a_taught_run_warns_of_nothing(training, tmp_path, caplog):
    resolve, model, data = training
    with Server(solve) as server:
        train(job_of(resolve, server, 1), model, data, tmp_path / "run")
    assert warned(caplog) == []
    assert all(row["no_signal"] == 0 for row in untimed(tmp_path / "run"))


def test_completions_that_are_all_cut_off_are_named(training, tmp_path, caplog):
    """A model that never ends by itself: nobody can be asked, and nothing is rewarded."""
    resolve, model, data = training
    endless = tmp_path / "endless"
    shutil.copytree(model, endless)
    weights = load_file(model / "model.safetensors")
    weights["lm_head.weight"][AutoTokenizer.from_pretrained(model).eos_token_id, 0] = -100
    save_file(weights, endless / "model.safetensors", {"format": "pt"})
    with Server(solve) as server:
        train(job_of(resolve, server, 5, max_completion_length=8), endless, data, tmp_path / "run")
    texts = warned(caplog)
    assert any("nobody is asked, since no completion ends by itself" in text for text in texts)
    assert any("5 batches in a row: every completion is cut off" in text for text in texts)
    rows = untimed(tmp_path / "run")
    assert all(row["num_cut_off"] == row["num_rollouts"] == 16 for row in rows)


class Silent(Teacher):
    def generate(self, chats):
        return [None for _ in chats]


def row(number, **changes):
    """Return the metrics of a batch in which everything is as it should be."""
    made = {"rollout_batch": number, "num_rollouts": 8, "num_cut_off": 0, "num_zero_advantage": 4}
    made |= {"num_asked": 2, "num_unanswered": 0, "num_unparsed": 0, "num_taught": 2}
    return made | {"guidance_rate": 0.1, "reward": 0.5, "loss": 0.1, "grad_norm": 1.0} | changes


def guided(config):
    kind = SFT if isinstance(config, SFTAlgorithmConfig) else ThinkTuning
    return Watchdog(kind(config, Silent()))


def test_a_usable_reply_starts_the_count_again():
    watchdog = guided(ThinkTuningAlgorithmConfig(max_untaught_batches=2))
    bad = {"num_unparsed": 2, "num_taught": 0}
    assert watchdog.watch(row(1, **bad))
    assert not watchdog.watch(row(2, num_asked=0, num_taught=0))  # nobody asked: neither counts
    assert not watchdog.watch(row(3, num_unparsed=1, num_taught=1))
    assert watchdog.watch(row(4, **bad))
    with pytest.raises(StudyError, match=r"taught 0 of 4 asked.*last checkpoint.*null"):
        watchdog.watch(row(5, **bad))


def test_few_unusable_replies_after_many_usable_ones_do_not_stop_a_run():
    """`select: all_wrong` soon selects next to none, and these may be beyond judging."""
    watchdog = guided(ThinkTuningAlgorithmConfig(max_untaught_batches=2))
    for number in range(10):
        watchdog.watch(row(number, num_asked=10, num_taught=9, num_unparsed=1))
    for number in range(10, 13):  # 3, 6 and 9 replies, of 90 usable ones before
        watchdog.watch(row(number, num_asked=3, num_taught=0, num_unparsed=3))
    with pytest.raises(StudyError, match=r"in 4 rollout batches in a row .*taught 0 of 12 asked"):
        watchdog.watch(row(13, num_asked=3, num_taught=0, num_unparsed=3))


def test_replies_that_are_never_kept_are_named():
    watchdog = guided(ThinkTuningAlgorithmConfig(keep="right"))
    texts = [watchdog.watch(row(n, num_taught=0)) for n in range(1, 6)]
    assert texts[:4] == [[]] * 4
    assert "algorithm.keep keeps none of them" in texts[4][0]


def test_equal_rewards_are_named_five_ten_and_twenty_batches_in_a_row():
    watchdog = Watchdog(GRPOAlgorithmConfig().build(None, None))
    none = {"num_zero_advantage": 8, "num_asked": 0, "num_taught": 0, "guidance_rate": 0.0}
    warned = [n for n in range(1, 25) if watchdog.watch(row(n, **none, reward=0.0))]
    assert warned == [5, 10, 20]
    assert not watchdog.watch(row(25, guidance_rate=0.0))
    warned = [n for n in range(1, 6) if watchdog.watch(row(n, **none, reward=None))]
    assert warned == [5]
    assert [n for n in range(50) if doubled(n, 5)] == [5, 10, 20, 40]


def test_a_loss_without_advantages_is_judged_by_its_gradient():
    equal = {"num_zero_advantage": 8}
    flat = {"loss": 0.0, "grad_norm": 0.0}
    sft = guided(SFTAlgorithmConfig())
    assert sft.without_signal(row(1, **equal)) is None
    assert sft.without_signal(row(1, **equal, **flat)) == "loss and gradient are 0"
    assert sft.without_signal(row(1, **equal, **flat, guidance_rate=0.0)) is None  # by design
    assert guided(ThinkTuningAlgorithmConfig()).without_signal(row(1, **flat))
    still = guided(ThinkTuningAlgorithmConfig()).without_signal(row(1, grad_norm=0.0))
    assert still == "the gradient is 0 (loss 0.1)"


def test_a_teacher_that_is_never_asked_is_told_of_at_the_end():
    never = {"guidance_rate": 0.0, "num_asked": 0, "num_taught": 0}
    watchdog = guided(ThinkTuningAlgorithmConfig(schedule={"init": 0.0, "min": 0.0}))
    assert not watchdog.watch(row(1, **never))
    (told,) = watchdog.summary()
    assert told.startswith("Nobody was taught, in 0 rollout batches with guidance.")
    watchdog = Watchdog(GRPOAlgorithmConfig().build(None, None))
    assert not watchdog.watch(row(1, **never)) and not watchdog.summary()


def test_distillation_without_a_teacher_is_judged_like_one_with_a_schedule():
    """`num_taught` counts the rollouts that are distilled, and nobody is asked."""
    distilled = {"num_asked": 0, "num_taught": 4, "guidance_rate": 0.5}
    watchdog = Watchdog(SDPOAlgorithmConfig().build(None, None))
    assert not watchdog.watch(row(1, **distilled))
    flat = {"loss": 0.0, "grad_norm": 0.0}
    assert watchdog.without_signal(row(2, **distilled | flat)) == "loss and gradient are 0"
    assert watchdog.without_signal(row(2, **distilled | flat | {"guidance_rate": 0.0})) is None
    assert watchdog.summary() == []


@pytest.mark.parametrize(("count", "quiet"), [("spliced", True), ("all", False)])
def test_rft_without_a_teacher_needs_a_signal_only_if_it_learns_from_all(count, quiet):
    watchdog = Watchdog(RFT(RFTAlgorithmConfig(count=count), Silent()))
    found = watchdog.without_signal(row(1, guidance_rate=0, num_taught=0, loss=0, grad_norm=0))
    assert (found is None) == quiet


def test_metrics_of_an_earlier_version_are_no_fault():
    new = ("num_cut_off", "num_zero_advantage")
    old = {key: value for key, value in row(1).items() if key not in new}
    assert guided(ThinkTuningAlgorithmConfig(max_untaught_batches=1)).watch(old) == []
