"""`thinktuning push`, a process against a stand-in for the hub: what arrives, what is refused."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from answered_study import METHOD, study, write_results
from hub_server import TOKEN, Hub, Repo
from huggingface_hub import parse_eval_result_entries

from thinktuning.commands.push import push as publish
from thinktuning.io.errors import StudyError
from thinktuning.io.files import sha256, write_jsonl
from thinktuning.models.config import model_sha256
from thinktuning.study.jobs import to_json

HUB_DATA = {"source": "hub", "repo": "Idavidrein/gpqa", "revision": "a" * 40, "split": "train"}
HUB_DATA |= {"name": "gpqa_diamond", "limit": None}
MINE = "/home/somebody/private"


@pytest.fixture
def run(tmp_path, likely_eos):
    """A finished and evaluated run in a study on two tasks, one of which is a benchmark's."""
    results = tmp_path / "mine/results"
    job = study([0], ["sums", "gpqa"])
    correct = {("base", 0, task): METHOD for task in job.tasks}
    write_results(results, job, correct | {("method", 0, task): METHOD for task in job.tasks})
    directory = results / "runs/method/seed0"
    shutil.copytree(likely_eos, directory / "model")
    config = directory / "model/config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"_name_or_path": f"{MINE}/base"}))
    teacher = {"backend": "openai", "openai": {"base_url": "http://10.0.0.7:8000/v1"}}
    teacher["prompt"] = f"{MINE}/tutor.yaml"
    settings = {"training": {"max_steps": 2, "lora": {"r": 16}}, "teacher": teacher}
    settings |= {"algorithm": {"type": "thinktuning"}, "prompt": {"system": None, "suffix": ""}}
    (directory / "config.json").write_text(json.dumps(settings))
    row = {"rollout_batch": 1, "guidance_rate": 0.5, "num_rollouts": 8, "num_asked": 3}
    row |= {"num_unanswered": 0, "num_unparsed": 1, "num_taught": 2, "reflection_rate": 0.5}
    write_jsonl(directory / "metrics.jsonl", [row | {"no_signal": 0, "num_cut_off": 0}])
    digest = model_sha256(directory / "model")
    inputs = {"model": "b" * 64, "data": "c" * 64, "teacher_prompt": "d" * 64}
    made = {"commit": "e" * 40, "python": "3.11.7", "platform": "my-laptop", "versions": {}}
    made |= {"inputs": inputs, "model_sha256": digest, "method": "method", "seed": 0}
    (directory / "provenance.json").write_text(json.dumps(made))
    for path in results.glob("eval/method/seed0/*/results.json"):
        sampling = {"temperature": 1.0}
        found = {"inputs": {"model": digest}, "n": 4, "k": 2, "sampling": sampling, "commit": "f"}
        path.write_text(json.dumps(found))
    local = {"source": "jsonl", "path": f"{MINE}/train.jsonl"}
    tasks = {"gpqa": {"data": HUB_DATA}, "sums": {"data": local}}
    (results / "data").mkdir(exist_ok=True)
    (results / "data/config.json").write_text(
        json.dumps({"data": {"train": local}, "tasks": tasks})
    )
    (results / "models").mkdir(exist_ok=True)
    hub = {"source": "hub", "repo": "me/base", "revision": "9" * 40}
    (results / "models/base.json").write_text(json.dumps({"model": hub}))
    (results / "tables").mkdir(exist_ok=True)
    (results / "tables/config.json").write_text(to_json(job))
    return directory


@pytest.fixture
def hub():
    with Hub() as server:
        yield server


def push(run: Path, hub: Hub, *arguments: str, token: str | None = TOKEN, **env: str):
    """Call the command; return its output, or its message if it refuses."""
    env = (
        os.environ
        | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        | env
    )
    env |= {"HF_HOME": str(run / "../home")} | ({"HF_TOKEN": token} if token else {})
    command = [sys.executable, "-m", "thinktuning.commands.cli", "push", str(run), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    assert (done.returncode == 0) == (not done.stderr.startswith("thinktuning: ")), done.stderr
    return done.stdout.strip() or done.stderr.strip()


@pytest.mark.slow
def test_what_is_sent_is_what_a_dry_run_writes(run, hub, tmp_path):
    card = tmp_path / "card"
    said = push(run, hub, "--repo", "me/new", "--dry-run", "--output", str(card), token=None)
    assert said == f"{card}: written, nothing was sent" and hub.requests == [] and not hub.repos
    said = push(run, hub, "--repo", "me/new", "--private")
    assert said == f"me/new: {hub.url}/me/new/commit/{1:040x}"
    written = {str(p.relative_to(card)): p.read_bytes() for p in card.rglob("*") if p.is_file()}
    repo = hub.repos["me/new"]
    assert repo.private and len(repo.commits) == 1
    assert repo.files.pop(".gitattributes") and repo.files == written
    assert repo.files["model.safetensors"] == (run / "model/model.safetensors").read_bytes()
    names = {"config.json", "tokenizer.json", "README.md", "thinktuning.json"}
    assert names | {".eval_results/gpqa.yaml"} <= set(written)
    texts = b"".join(text for name, text in written.items() if name != "model.safetensors")
    for secret in (MINE, "10.0.0.7", "my-laptop", TOKEN):
        assert secret.encode() not in texts, secret
    assert not list(run.glob(".push*"))
    readme = written["README.md"].decode()
    front = yaml.safe_load(readme.split("---")[1])
    assert front["base_model"] == "me/base" and {"trl", "grpo", "thinktuning"} <= set(front["tags"])
    assert "licence" not in front and "license" not in front
    for text in (
        "This model was trained with ThinkTuning, a method introduced in [ThinkTuning: Instill",
        "A LoRA adapter (r = 16) was trained and is merged in.",
        "| gpqa | 4 | 2 | 87.5 [",
        f"thinktuning at commit `{'e' * 40}`",
        "prompt: tutor.yaml",
        "## Limits",
    ):
        assert text in readme, text
    (entry,) = parse_eval_result_entries(yaml.safe_load(written[".eval_results/gpqa.yaml"]))
    assert (entry.dataset_id, entry.task_id) == ("Idavidrein/gpqa", "gpqa_diamond")
    assert (entry.value, entry.dataset_revision) == (87.5, "a" * 40)


@pytest.mark.slow
def test_an_existing_repository_is_replaced_only_on_request(run, hub):
    old = {".gitattributes": b"\n", "LICENSE": b"mine", "model-00001-of-00002.safetensors": b"old"}
    hub.repos["me/old"] = Repo(files=dict(old))
    said = push(run, hub, "--repo", "me/old")
    assert "me/old exists and has 3 files; --update adds a commit to it" in said
    assert "me/old exists and is public; make it private on its page" in push(
        run, hub, "--repo", "me/old", "--private", "--update"
    )
    assert hub.repos["me/old"].files == old
    assert push(run, hub, "--repo", "me/old", "--update").startswith("me/old: http")
    files = hub.repos["me/old"].files
    assert files["LICENSE"] == b"mine" and "model.safetensors" in files
    assert "model-00001-of-00002.safetensors" not in files  # or it would be loaded as well


@pytest.mark.slow
def test_what_the_hub_refuses_is_said(run, hub):
    assert "there is no token for the hub; run `hf auth login`" in push(
        run, hub, "--repo", "me/new", token=None
    )
    assert "HF_HUB_OFFLINE is set" in push(run, hub, "--repo", "me/new", HF_HUB_OFFLINE="1")
    wrong = push(run, hub, "--repo", "me/new", token="hf_other")
    assert "me/new: the hub refused (" in wrong and "check that the token may write there" in wrong
    hub.writable = False
    assert "You don't have the rights to create a model under me/new" in push(
        run, hub, "--repo", "me/new"
    )
    assert not hub.repos
    assert "me/new: cannot be published (ConnectError: " in push(
        run, hub, "--repo", "me/new", HF_ENDPOINT="http://127.0.0.1:9"
    )


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def unfinished(run):
    (run / "provenance.json").unlink()


def diverged(run):
    unfinished(run)
    (run / "checkpoints").mkdir()
    (run / "checkpoints/diverged.jsonl").touch()


def other_weights(run):
    with (run / "model/model.safetensors").open("ab") as file:
        file.write(b"x")


def other_evaluation(run):
    path = run.parents[2] / "eval/method/seed0/sums/results.json"
    edit(path, inputs={"model": "of another"})


def other_settings(run):
    hashes = {"config.json": sha256(run / "config.json")}
    edit(run / "provenance.json", records_sha256=hashes)
    edit(run / "config.json", seed=7)


def evaluation_of_another(run):
    edit(run.parents[2] / "eval/method/seed0/sums/results.json", method="other")


def untaught(run):
    row = json.loads((run / "metrics.jsonl").read_text())
    write_jsonl(run / "metrics.jsonl", [row | {"num_taught": 0}])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (unfinished, "this training has not finished; `snakemake "),
        (diverged, "this training diverged and has no model to publish"),
        (other_weights, "is not the model that provenance.json beside it describes"),
        (other_evaluation, "sums/results.json: is of another model than this run's"),
        (other_settings, "config.json: is not the file that provenance.json beside it describes"),
        (evaluation_of_another, "sums/results.json: is of method other, and not of method"),
        (untaught, "the tables mark this run (taught 0 of 3 asked): it is not what its name says"),
        (
            lambda run: (run / "config.json").unlink(),
            "is not a training run; pass a run's director",
        ),
    ],
)
def test_a_run_that_is_not_what_it_should_be_is_refused(run, change, said):
    change(run)
    with pytest.raises(StudyError, match=re.escape(said)):
        publish(run, "me/new", folder=run / "card", dry_run=True)
    assert not (run / "card").exists()


def test_nothing_is_left_of_a_folder_that_failed(run, tmp_path):
    (run / "provenance.json").write_text(
        json.dumps(json.loads((run / "provenance.json").read_text()) | {"inputs": {}})
    )
    for folder in (tmp_path / "card", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(KeyError):
            publish(run, "me/new", folder=folder, dry_run=True)
    assert not (tmp_path / "card").exists() and not list((tmp_path / "empty").iterdir())


def test_a_dry_run_leaves_results_that_may_only_be_read_alone(run, monkeypatch):
    def refuse(*args, dir=None, **kwargs):
        if dir:
            raise PermissionError(13, "Permission denied")
        return TemporaryDirectory(*args, **kwargs)

    monkeypatch.setattr("thinktuning.commands.push.TemporaryDirectory", refuse)
    assert publish(run, "me/new", dry_run=True).endswith("written, nothing was sent")


def test_a_file_in_the_way_is_refused(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match=r"--output: .*file is not a directory"):
        publish(run, "me/new", folder=tmp_path / "file", dry_run=True)


@pytest.mark.parametrize("text", ["null", "5"])
def test_a_provenance_that_is_no_object_is_refused(run, text):
    (run / "provenance.json").write_text(text)
    with pytest.raises(StudyError, match=r"provenance\.json: expected a JSON object"):
        publish(run, "me/new", dry_run=True)


def test_an_empty_table_is_left_out(run, tmp_path):
    edit(run / "provenance.json", inputs=None)
    with pytest.raises(StudyError, match="inputs and versions should be JSON objects"):
        publish(run, "me/new", folder=tmp_path / "card", dry_run=True)
    edit(run / "provenance.json", inputs={"model": "b", "data": "c"})
    (run.parents[2] / "tables/comparison.csv").write_text("")
    publish(run, "me/new", folder=tmp_path / "card", dry_run=True)
    assert "All methods of the study" not in (tmp_path / "card/README.md").read_text()


def test_a_marked_run_says_so_in_its_card(run, tmp_path):
    untaught(run)
    edit(run / "provenance.json", commit=f"{'e' * 40}-dirty")
    card = tmp_path / "card"
    publish(run, "me/new", folder=card, dry_run=True, marked=True, license="mit")
    readme = (card / "README.md").read_text()
    assert "- **the study marks this run: taught 0 of 3 asked**" in readme
    assert "- **the code that made it is no published commit**" in readme
    assert "license: mit" in readme and "*a|b (taught 0 of 3 asked)*" in readme
    with pytest.raises(StudyError, match=f"--output: {card} is not empty"):
        publish(run, "me/new", folder=card, dry_run=True, marked=True)


@pytest.mark.parametrize(
    ("repo", "said"),
    [("new", "'new' has no owner; write NAME/MODEL"), ("a b/c", "--repo: Repo id")],
)
def test_a_wrong_name_is_refused(run, repo, said):
    with pytest.raises(StudyError, match=said):
        publish(run, repo)
