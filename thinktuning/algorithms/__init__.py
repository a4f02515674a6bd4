"""The algorithms that a study can select: `algorithm: {type: ...}`. Imports no torch.

To add one, add a file to this folder and its config class to the union below (docs/extending.md).
"""

from typing import Annotated

from pydantic import Field

from thinktuning.algorithms.critique_grpo import CritiqueGRPOAlgorithmConfig
from thinktuning.algorithms.dpo import DPOAlgorithmConfig
from thinktuning.algorithms.grpo import GRPOAlgorithmConfig
from thinktuning.algorithms.luffy import LUFFYAlgorithmConfig
from thinktuning.algorithms.rft import RFTAlgorithmConfig
from thinktuning.algorithms.sdpo import SDPOAlgorithmConfig
from thinktuning.algorithms.sft import SFTAlgorithmConfig
from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig

AnyAlgorithmConfig = Annotated[
    GRPOAlgorithmConfig
    | ThinkTuningAlgorithmConfig
    | SFTAlgorithmConfig
    | DPOAlgorithmConfig
    | SDPOAlgorithmConfig
    | RFTAlgorithmConfig
    | LUFFYAlgorithmConfig
    | CritiqueGRPOAlgorithmConfig,
    Field(discriminator="type"),
]
