"""Every shipped study is planned without a network, from models' numbers that come along."""

from importlib.util import find_spec

import pytest
from planned_study import LLAMA_3B, LLAMA_3B_PARAMETERS, ROOT

from thinktuning.io.errors import StudyError
from thinktuning.models.config import HubModelConfig, PackageModelConfig
from thinktuning.planning.costs import architectures, model_size
from thinktuning.planning.estimates import estimate_study
from thinktuning.planning.requirements import cached_estimates
from thinktuning.study.reading import load_study

PUBLISHED = {  # on the models' pages
    "meta-llama/Llama-3.2-3B-Instruct": LLAMA_3B_PARAMETERS,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
}
STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    from transformers import AutoConfig

    read = AutoConfig.from_pretrained

    def local(place, **options):
        if "revision" in options:
            raise OSError("no network")
        return read(place, **options)

    monkeypatch.setattr(AutoConfig, "from_pretrained", local)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_is_planned_offline(path):
    study = load_study(path)
    if isinstance(study.model, PackageModelConfig) and not find_spec(study.model.package):
        pytest.skip(f"needs {study.model.package} (make env)")
    estimates = estimate_study(study)
    assert {estimate.stage for estimate in estimates} == {"model", "train", "evaluate"}
    assert cached_estimates(study)


@pytest.mark.parametrize("repo", architectures())
def test_the_numbers_give_the_published_size(repo):
    for revision in architectures()[repo]:
        size = model_size(HubModelConfig(source="hub", repo=repo, revision=revision))
        assert (size.parameters, size.stored_bytes) == (PUBLISHED[repo], 2)


def test_llamas_numbers_are_those_that_the_other_tests_use():
    (found,) = architectures()["meta-llama/Llama-3.2-3B-Instruct"].values()
    assert found == LLAMA_3B | {"model_type": "llama"}


def test_another_revision_may_be_another_model():
    model = HubModelConfig(source="hub", repo="Qwen/Qwen2.5-3B-Instruct", revision="0" * 40)
    with pytest.raises(StudyError, match=r"no network.*--model-config"):
        model_size(model)
