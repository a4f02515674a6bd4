"""What a study may say of each field of `trl.GRPOConfig` in `training.extra`.

HONORED  It does here what TRL says. The value is a narrower type than TRL's, or None.
OWNED    It has a key of its own, or follows from one.
REFUSED  It would do nothing, or something else than TRL says: by reason.

`tests/study/test_trl_options.py` finds a field of the installed TRL that is in none of them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from thinktuning.io.section import Fraction, NonNegative, Number, Positive


def names(text: str) -> list[str]:
    """Return the names in a text."""
    return text.split()


LogLevel = Literal["debug", "info", "warning", "error", "critical", "passive"]

HONORED: Mapping[str, Any] = {
    # memory, speed and precision
    "full_determinism": None,
    "gradient_checkpointing_kwargs": dict[str, Any],
    "model_init_kwargs": dict[str, Any],
    "pad_to_multiple_of": PositiveInt,
    "tf32": None,
    "torch_compile": None,
    "torch_compile_backend": Literal[
        "aot_eager", "cudagraphs", "eager", "inductor", "onnxrt", "tensorrt", "tvm"
    ],
    "torch_compile_mode": Literal[
        "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
    ],
    "torch_empty_cache_steps": PositiveInt,
    # the optimizer
    "adam_epsilon": Positive,
    "lr_scheduler_kwargs": dict[str, Any],
    "optim": None,
    "optim_args": None,
    "optim_target_modules": str | list[str],
    # sampling
    "cache_implementation": Literal["dynamic", "static", "offloaded", "offloaded_static"],
    "generation_kwargs": dict[str, Any],
    "min_p": Fraction,
    "repetition_penalty": Positive,
    "top_k": Annotated[int, Field(ge=0)],
    "vllm_group_port": PositiveInt,
    "vllm_model_impl": Literal["vllm", "transformers"],
    "vllm_server_timeout": Positive,
    "vllm_structured_outputs_regex": None,
    # the loss
    "disable_dropout": None,
    "entropy_coef": Number,
    "entropy_coef_delta": NonNegative,
    "entropy_coef_max": Number,
    "entropy_coef_min": Number,
    "entropy_target": Number,
    "epsilon_high": Positive,
    "importance_sampling_level": Literal["token", "sequence"],
    "mask_truncated_completions": None,
    "off_policy_mask_threshold": Positive,
    "router_aux_loss_coef": NonNegative,
    "sapo_temperature_neg": Positive,
    "sapo_temperature_pos": Positive,
    "top_entropy_quantile": Fraction,
    "use_adaptive_entropy": None,
    "use_bias_correction_kl": None,
    "vespo_k_neg": NonNegative,
    "vespo_k_pos": NonNegative,
    "vespo_lambda_neg": NonNegative,
    "vespo_lambda_pos": NonNegative,
    # the log
    "log_level": LogLevel,
    "log_level_replica": LogLevel,
}

SAME = names(
    "adam_beta1 adam_beta2 beta bf16 delta epsilon gradient_accumulation_steps learning_rate"
    " gradient_checkpointing loss_type lr_scheduler_type max_completion_length max_grad_norm"
    " max_steps num_generations num_iterations per_device_train_batch_size project report_to"
    " reward_weights run_name save_steps scale_rewards steps_per_generation temperature top_p"
    " warmup_steps weight_decay"
)
VLLM = names(
    "mode enable_sleep_mode server_base_url gpu_memory_utilization max_model_length"
    " tensor_parallel_size importance_sampling_correction importance_sampling_mode"
    " importance_sampling_clip_max importance_sampling_clip_min"
)

OWNED: Mapping[str, str] = {
    **{name: f"training.{name}" for name in SAME},
    **{f"vllm_{name}": f"training.vllm.{name}" for name in VLLM},
    "activation_checkpointing": "training.gradient_checkpointing",
    "activation_checkpointing_kwargs": "training.extra.gradient_checkpointing_kwargs",
    "chat_template_kwargs": "chat_template_kwargs",
    "deepspeed": "resources.train.distributed",
    "fsdp": "resources.train.distributed",
    "fsdp_config": "resources.train.distributed",
    "generation_batch_size": "training.steps_per_generation",
    "num_train_epochs": "training.max_steps",
    "seed": "seeds",
    "shuffle_dataset": "training.curriculum",
    "use_cpu": "resources.train.gpu",
    "use_vllm": "training.vllm",
    "vllm_importance_sampling_cap": "training.vllm.importance_sampling_clip_max",
    "vllm_server_host": "training.vllm.server_base_url",
    "vllm_server_port": "training.vllm.server_base_url",
}

_REASONS: Mapping[str, str] = {
    "the stage `train` says where its files are, and resumes by itself": (
        "output_dir resume_from_checkpoint"
    ),
    "every rollout batch is logged, in metrics.jsonl and to the trackers of training.report_to": (
        "logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_on_each_node"
        " disable_tqdm include_num_input_tokens_seen"
    ),
    "rollouts.jsonl has the completions; training.rollouts_per_step says how many": (
        "log_completions log_completions_hub_repo log_multimodal log_unique_prompts"
        " num_completions_to_print"
    ),
    "trackio reads it from the environment: TRACKIO_SPACE_ID, TRACKIO_BUCKET_ID": (
        "trackio_space_id trackio_bucket_id trackio_static_space_id"
    ),
    "answers are evaluated as the study's tasks and `evaluation` say, not by TRL's settings": (
        "eval_strategy eval_steps eval_delay per_device_eval_batch_size prediction_loss_only"
        " eval_on_start eval_do_concat_batches eval_use_gather_object eval_accumulation_steps"
        " include_for_metrics batch_eval_metrics bf16_full_eval fp16_full_eval num_generations_eval"
        " load_best_model_at_end metric_for_best_model greater_is_better do_train do_eval"
        " do_predict"
    ),
    "training.save_steps and training.save_minutes decide when a checkpoint is written, and it has"
    " all that a resumed run needs": (
        "save_strategy save_only_model save_on_each_node save_total_limit enable_jit_checkpoint"
        " ignore_data_skip restore_callback_states_from_checkpoint"
    ),
    "a training pushes nothing": (
        "push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push"
        " hub_revision"
    ),
    "the order of questions follows from the run's seed, or from training.curriculum": (
        "data_seed train_sampling_strategy length_column_name"
    ),
    "the questions are in memory: there is nothing to load in other processes": (
        "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers"
        " dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order"
        " dataloader_drop_last"
    ),
    "resources.train.distributed decides how processes work together": (
        "accelerator_config parallelism_config ddp_find_unused_parameters ddp_bucket_cap_mb"
        " ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout local_rank"
        " ds3_gather_for_generation"
    ),
    "TRL's GRPO loss does not use it": (
        "label_smoothing_factor average_tokens_across_devices label_names"
    ),
    "the reward needs the questions' other columns": "remove_unused_columns",
    "its loss scaling begins with gradients that are not finite, which here end a training; use"
    " training.bf16": "fp16",
    "each call says itself whether it uses a cache": "use_cache",
    "its noise would be in the log-probabilities of what was sampled without it": (
        "neftune_noise_alpha"
    ),
    "TRL refuses it: a smaller batch would split groups": "auto_find_batch_size",
    "TRL deprecates it, and it has not been tried": "use_liger_kernel liger_kernel_config",
    "weights are in float32, and with training.bf16 it has not been tried": "cast_lm_head_to_fp32",
    "its hooks have not been tried; provenance.json has the peak memory": "debug"
    " skip_memory_metrics",
    "models are loaded from a local directory, without code of their own": "trust_remote_code",
    "teaching, resampling and training.right_from go by the weighted sum of the rewards, and so"
    " must the advantages": "multi_objective_aggregation",
    "a checkpoint does not have the reference model, so a resumed run would go on from another"
    " one": "sync_ref_model ref_model_mixup_alpha ref_model_sync_steps",
    "the student has no tools": "max_tool_calling_iterations",
    "whether a resumed run repeats itself with it has not been tried; use training.vllm": (
        "use_transformers_continuous_batching transformers_continuous_batching_config"
        " use_transformers_paged"
    ),
}
REFUSED: Mapping[str, str] = {
    name: reason for reason, listed in _REASONS.items() for name in names(listed)
}
