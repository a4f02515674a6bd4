"""ThinkTuning: teach a language model to reflect (EMNLP 2025, arXiv 2508.07616).

    from thinktuning import SelfTeacher, ThinkTuningConfig, ThinkTuningTrainer

The names are imported on first use, since the trainer brings torch and TRL along.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "ThinkTuningConfig": "trainer.arguments",
    "ThinkTuningTrainer": "trainer.trainer",
    "Teacher": "teachers.protocol",
    "SelfTeacher": "teachers.local",
    "LocalTeacher": "teachers.local",
    "OpenAITeacher": "teachers.openai",
    "TeacherPrompt": "teachers.prompts",
    "Algorithm": "algorithms.protocol",
    "AlgorithmConfig": "algorithms.config",
    "RolloutBatch": "algorithms.batch",
    "ScheduleConfig": "algorithms.config",
    "AASConfig": "algorithms.config",
    "ThinkTuningAlgorithmConfig": "algorithms.thinktuning",
    "GRPOAlgorithmConfig": "algorithms.grpo",
    "SFTAlgorithmConfig": "algorithms.sft",
    "DPOAlgorithmConfig": "algorithms.dpo",
    "SDPOAlgorithmConfig": "algorithms.sdpo",
    "RFTAlgorithmConfig": "algorithms.rft",
    "LUFFYAlgorithmConfig": "algorithms.luffy",
    "CritiqueGRPOAlgorithmConfig": "algorithms.critique_grpo",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
