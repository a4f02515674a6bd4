"""Lets vLLM's CPU engine stand in for the GPU one in tests; call `prepare` before importing vLLM.

1. The CPU wheel is not named `vllm`, but lm-eval and trl look for that name's metadata.
2. It packs the weights of linear layers, so that later updates have no effect (silently, with tied
   embeddings): plain linear layers replace them.
3. trl exposes neither `dtype` nor `enforce_eager`, without which compilation takes minutes.
"""

import functools
import importlib.metadata
import os
import sys
import tempfile
from pathlib import Path

ENGINE = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 256 << 20}


def prepare():
    """Make `import vllm` load the CPU engine, with weights that can be updated."""
    os.environ |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    os.environ |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    version = importlib.metadata.version("vllm-cpu") + "+cpu"  # vLLM recognizes its platform by it
    metadata = Path(tempfile.mkdtemp()) / f"vllm-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    sys.path.insert(0, str(metadata.parent))
    inherited = os.environ.get("PYTHONPATH")  # for `vllm serve` in its own process
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(metadata.parent), inherited]))

    import torch
    from vllm.model_executor.layers import utils

    def plain(layer, remove_weight):
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = plain

    import trl.generation.vllm_generation as generation
    from vllm import LLM

    generation.LLM = functools.partial(LLM, **ENGINE)
