"""Lets processes on a CPU pass for those on GPUs: a test puts this directory on PYTHONPATH, and
Python runs this file first.

Accelerate shards with FSDP2 on GPUs alone; torch does so on CPUs too, between gloo's processes. All
else is what `accelerate launch` does with the packaged settings. DeepSpeed needs but its variable,
DS_ACCELERATOR=cpu, and vLLM what `vllm_on_cpu` has.
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
