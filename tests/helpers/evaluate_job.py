"""An evaluation of the default study on `chain_sum`, with another prompt and sampling."""

from pathlib import Path

from thinktuning.data.config import PromptConfig
from thinktuning.evaluation.config import EvaluationConfig
from thinktuning.study.jobs import EvaluateJob
from thinktuning.study.reading import load_study

ROOT = Path(__file__).parents[2]
BUDGET = 60
PROMPT = PromptConfig(system="Be {{brief}}.", suffix=" {{Check}} {% it %} \\boxed{}\n")  # not Jinja


def evaluation(
    temperature: float = 1.0, seed: int = 1, max_gen_toks: int = BUDGET, batch_size: int = 5
) -> EvaluationConfig:
    """Return a study's section `evaluation`."""
    return EvaluationConfig(
        temperature=temperature, seed=seed, max_gen_toks=max_gen_toks, batch_size=batch_size
    )


def evaluate_job(num_samples: int = 2, **sampling: float) -> EvaluateJob:
    """Return the job; `sampling` changes its section `evaluation`."""
    job = load_study(ROOT / "config.yaml").evaluate_job("zero_shot", None, "chain_sum")
    changes = {"num_samples": num_samples, "evaluation": evaluation(**sampling), "prompt": PROMPT}
    return job.model_copy(update=changes)
