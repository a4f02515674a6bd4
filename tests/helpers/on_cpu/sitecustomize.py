"""Lets processes on a CPU pass for processes on GPUs.

A test puts this directory on PYTHONPATH, and Python runs this file at startup. Accelerate shards
with FSDP2 on GPUs only; torch can do it on CPUs too, between gloo processes. Everything else is
what `accelerate launch` does with the packaged settings. DeepSpeed only needs DS_ACCELERATOR=cpu,
and vLLM needs `vllm_on_cpu`.
"""

import os
import sys
from pathlib import Path

if os.environ.get("ACCELERATE_USE_FSDP") and "RANK" in os.environ:
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    start = PartialState.__init__

    def as_on_gpus(self, *args, **kwargs):
        start(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = as_on_gpus

if os.environ.get("THINKTUNING_VLLM_ON_CPU") and "RANK" in os.environ:
    sys.path.append(str(Path(__file__).parents[1]))
    from vllm_on_cpu import prepare

    prepare()
