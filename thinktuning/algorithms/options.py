"""The TRL options that an algorithm with hooks can honor: an allow-list, with reasons.

Vanilla GRPO takes every option of stock TRL. An algorithm that splices text or shapes the loss does
not: `cispo`, for example, multiplies by a detached ratio, so a guided token would get a different
gradient from the algorithm's. An option that has not been reviewed is refused too.
"""

from collections.abc import Mapping
from typing import Any

from thinktuning.io.section import remove

# Options of sampling, logging, memory and reward normalization do not affect the hooks.
HONORED = frozenset(
    {
        "beta",
        "cache_implementation",
        "cast_lm_head_to_fp32",
        "chat_template_kwargs",
        "delta",
        "disable_dropout",
        "ds3_gather_for_generation",
        "entropy_coef",
        "entropy_coef_delta",
        "entropy_coef_max",
        "entropy_coef_min",
        "entropy_target",
        "epsilon",
        "epsilon_high",
        "generation_batch_size",
        "generation_kwargs",
        "log_completions",
        "log_completions_hub_repo",
        "log_multimodal",
        "log_unique_prompts",
        "mask_truncated_completions",
        "max_completion_length",
        "min_p",
        "model_init_kwargs",
        "multi_objective_aggregation",
        "num_completions_to_print",
        "num_generations",
        "num_generations_eval",
        "num_iterations",
        "pad_to_multiple_of",
        "ref_model_mixup_alpha",
        "ref_model_sync_steps",
        "repetition_penalty",
        "reward_weights",
        "router_aux_loss_coef",
        "scale_rewards",
        "shuffle_dataset",
        "steps_per_generation",
        "sync_ref_model",
        "temperature",
        "top_k",
        "top_p",
        "transformers_continuous_batching_config",
        "trust_remote_code",
        "use_adaptive_entropy",
        "use_bias_correction_kl",
        "use_transformers_continuous_batching",
        "use_transformers_paged",
        "use_vllm",
        "vllm_enable_sleep_mode",
        "vllm_gpu_memory_utilization",
        "vllm_group_port",
        "vllm_importance_sampling_cap",
        "vllm_importance_sampling_clip_max",
        "vllm_importance_sampling_clip_min",
        "vllm_importance_sampling_correction",
        "vllm_importance_sampling_mode",
        "vllm_max_model_length",
        "vllm_mode",
        "vllm_model_impl",
        "vllm_server_base_url",
        "vllm_server_host",
        "vllm_server_port",
        "vllm_server_timeout",
        "vllm_structured_outputs_regex",
        "vllm_tensor_parallel_size",
    }
)

# option -> (the values that can be honored, why not others)
LIMITED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "loss_type": (
        ("grpo", "bnpo", "dr_grpo", "dapo"),
        "the other losses do not have the clipped ratio that shaping replaces",
    ),
    "importance_sampling_level": (
        ("token",),
        "a sequence-level ratio mixes the student's tokens with the teacher's",
    ),
    "top_entropy_quantile": (
        (1.0,),
        "it drops tokens by their entropy, including guided ones",
    ),
    "off_policy_mask_threshold": (
        (None,),
        "it drops sequences that the student would not sample, which is what guidance produces",
    ),
    "tools": ((None,), "tool turns are not the student's: lessons would go to the wrong rows"),
    "rollout_func": ((None,), "it does its own sampling, so the hook after sampling never runs"),
    "environment_factory": ((None,), "its turns are not the student's"),
    "use_liger_kernel": ((False,), "its fused loss bypasses the hooks"),
}


def check_options(algorithm: str, options: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    """Refuse options that cannot be honored.

    Args:
        algorithm: its `type`, for the message.
        options: TRL options that are not at their defaults.
        refused: further options that this algorithm cannot honor, each with the reason.

    Raises:
        ValueError: an option cannot be honored; says why, and what to set instead.
    """
    for name, value in options.items():
        if name in refused:
            raise ValueError(
                f"algorithm {algorithm!r} cannot honor {name}={value!r}: {refused[name]};"
                f" {remove()}"
            )
        allowed, reason = LIMITED.get(name, ((), "the combination has not been reviewed"))
        if name in HONORED or value in allowed:
            continue
        instead = f"set {name} to {' or '.join(map(repr, allowed))}" if allowed else remove()
        raise ValueError(
            f"algorithm {algorithm!r} cannot honor {name}={value!r}: {reason}; {instead}, or train"
            " with algorithm 'grpo', which takes every TRL option"
        )
