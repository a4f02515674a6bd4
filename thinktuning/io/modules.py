"""Import large libraries quickly."""

import gc
from importlib import import_module


def load_modules(*names: str) -> None:
    """Import modules with the garbage collector off, and leave what they made out of its sight.

    torch, transformers and TRL make half a million objects that live as long as the process. To
    look through them a thousand times while they are made takes a quarter of the imports' time;
    to take them apart at exit, another second.

    Args:
        names: the modules, in the order in which to import them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        for name in names:
            import_module(name)
    finally:
        if enabled:
            gc.enable()
    gc.freeze()
