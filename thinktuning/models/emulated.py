"""bfloat16 on CPUs without instructions for it.

There PyTorch multiplies bfloat16 matrices number by number: an update of SmolLM2-135M's layers
takes over ten times as long as in float32 (`python perf/bfloat16.py`).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)


class InFloat32(TorchDispatchMode):
    """Compute products of bfloat16 matrices in float32, and round them to bfloat16.

    So does hardware with bfloat16: it sums products in float32. Only the order of a sum differs.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation; see `torch.utils._python_dispatch.TorchDispatchMode`."""
        if func in PRODUCTS and all(arg.dtype == torch.bfloat16 for arg in args):
            return func(*(arg.float() for arg in args), **(kwargs or {})).bfloat16()
        return func(*args, **(kwargs or {}))


def is_emulated() -> bool:
    """Return whether this CPU has no instructions with which PyTorch multiplies in bfloat16."""
    return torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2")


def products_in_float32(bf16: bool = True) -> AbstractContextManager[Any]:
    """Return a context in which `InFloat32` holds where it is needed.

    Args:
        bf16: whether matrices are multiplied in bfloat16 at all; the mode costs some microseconds
            an operation.
    """
    if bf16 and is_emulated() and not torch.cuda.is_available():
        return InFloat32()  # type: ignore[no-untyped-call]
    return nullcontext()
