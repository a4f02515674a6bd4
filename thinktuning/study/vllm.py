"""The study section `training.vllm`: rollouts by vLLM."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from thinktuning.io.section import Fraction, Positive, Section

# of an engine in the training process
OF_COLOCATED = (
    "gpu_memory_utilization",
    "tensor_parallel_size",
    "max_model_length",
    "enable_sleep_mode",
)


class VLLMConfig(Section):
    """Rollouts by vLLM: TRL's `use_vllm`, and its `vllm_*` settings without that prefix.

    `max_logp_difference` is ours: training stops if the log-probabilities of vLLM and of the
    trainer differ by more nats on average.

    `colocate`: in the training process, on its GPU. `server`: `vllm serve results/models/base` on
    other GPUs (docs/gpu.md has its options); only one run at a time may use it.
    """

    mode: Literal["colocate", "server"] = "colocate"
    server_base_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    gpu_memory_utilization: Annotated[Fraction, Field(gt=0)] = 0.3
    tensor_parallel_size: PositiveInt = 1
    max_model_length: PositiveInt | None = None  # default: prompt + completion
    enable_sleep_mode: bool = False
    importance_sampling_correction: bool = True
    importance_sampling_mode: Literal[
        "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"
    ] = "sequence_mask"
    importance_sampling_clip_max: Positive | None = 3.0
    importance_sampling_clip_min: Positive | None = None
    max_logp_difference: Positive | None = 0.1

    @model_validator(mode="after")
    def _server(self) -> Self:
        if (self.mode == "server") != (self.server_base_url is not None):
            raise ValueError(
                "mode: server needs server_base_url, e.g. http://localhost:8000, and mode: colocate"
                " takes none; change one of the two"
            )
        for key in OF_COLOCATED if self.mode == "server" else ():
            if getattr(self, key) != (default := type(self).model_fields[key].default):
                raise ValueError(
                    f"{key} = {getattr(self, key)} has no effect with mode: server; give it to"
                    f" `vllm serve`, and set it to {'null' if default is None else default} here"
                )
        return self

    @model_validator(mode="after")
    def _corrected(self) -> Self:
        fields = type(self).model_fields
        for name in ("mode", "clip_max", "clip_min"):
            key = f"importance_sampling_{name}"
            given = getattr(self, key) != fields[key].default
            if given and not self.importance_sampling_correction:
                raise ValueError(
                    f"{key} = {getattr(self, key)} has no effect with"
                    f" importance_sampling_correction: false; set it to {fields[key].default}, or"
                    " the correction to true"
                )
        return self
