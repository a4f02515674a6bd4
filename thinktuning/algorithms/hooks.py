"""Runtime checks that TRL calls an algorithm's hooks, and uses what they return."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from thinktuning.algorithms.protocol import Algorithm


def require(holds: bool, problem: str) -> None:
    """Stop a training in which a hook of the algorithm has no effect.

    Args:
        holds: whether TRL did what the hook relies on.
        problem: what this TRL does instead: a clause with `GRPOTrainer` as its subject.

    Raises:
        RuntimeError: it does not hold.
    """
    if not holds:
        raise broken_hook(problem)


def broken_hook(problem: str) -> RuntimeError:
    """Return the error that says how this TRL breaks a hook; see `require`."""
    return RuntimeError(
        f"trl {version('trl')}: GRPOTrainer {problem}, so this run would not be the algorithm in"
        " its configuration; install a trl release in the range of thinktuning's pyproject.toml"
    )


class LossInputs(dict[str, Any]):
    """A copy of a micro-batch that checks how TRL reads the entries that `shape` replaces.

    Each of them must be read, and only after it was replaced. Only reads by key count: if TRL
    copied the whole dictionary, replacing entries here would have no effect, and `check_read` fails
    since they were never read.
    """

    def __init__(self, inputs: dict[str, Any]) -> None:
        super().__init__(inputs)
        self.logps: Tensor | None = None
        self._read: set[str] = set()  # before `shape`, then after it
        self._replaced: set[str] = set()

    def shape(self, logps: "Tensor", algorithm: "Algorithm[Any]") -> None:
        """Let the algorithm replace inputs, now that log pi is known.

        Args:
            logps: (B, T), log pi of each completion token, with its graph.
            algorithm: its `shape` returns the entries to replace.

        Raises:
            RuntimeError: TRL has already read an entry to replace, or `shape` was already called.
        """
        # shaped twice, advantages would be weighted twice
        require(self.logps is None, "computed the log-probabilities of one loss twice")
        self.logps = logps
        replaced = algorithm.shape(logps, dict(self))
        for name in replaced:
            require(name not in self._read, f"read {name} before it was shaped")
        self.update(replaced)
        self._read, self._replaced = set(), set(replaced)

    def check_read(self) -> None:
        """Check that the loss has used what was replaced.

        Raises:
            RuntimeError: an entry was replaced and not read afterwards.
        """
        for name in self._replaced:
            require(name in self._read, f"did not read {name} after it was shaped")

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry, or `default` if there is none."""
        self._read.add(name)
        return super().get(name, default)
