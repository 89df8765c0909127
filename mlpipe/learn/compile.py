"""Compile a network with torch.compile for faster steps; its weights keep their names.

Training and validation run the compiled network. Prediction runs the plain one, which starts at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn

from mlpipe.errors import TrainingError, problem


def none(network: nn.Module) -> None:
    """Run the network as it is.

    Args:
        network: The network.
    """


def default(
    network: nn.Module,
    *,
    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = "default",
    dynamic: bool | None = None,
    fullgraph: bool = False,
) -> None:
    """Compile a network when it gets its first batch (torch.compile; Ansel et al. 2024).

    Args:
        network: The network, changed in place; its state keeps its names.
        mode: The optimisation target of torch.compile.
        dynamic: One program for all batch sizes; None: torch decides when it meets a second size.
        fullgraph: Refuse a network that cannot be compiled as a whole, instead of compiling its parts.
    """
    # The plain `torch.compile(network)` would put `_orig_mod.` in front of every name in the state.
    network.compile(mode=mode, dynamic=dynamic, fullgraph=fullgraph)


@contextmanager
def explained() -> Iterator[None]:
    """Turn a compilation failure into a message.

    Raises:
        TrainingError: When torch could not compile the network.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_compiler(error):
            raise
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
        fix = "use compile=none, or compile.fullgraph=false; on a CPU a C++ compiler is needed"
        raise TrainingError(problem("compile", f"the network cannot be compiled ({reason})", fix=fix)) from error


def _is_of_compiler(error: Exception) -> bool:
    """Whether an error is one of torch's compiler, recognised by its module, which need not be imported."""
    modules = [base.__module__ for base in type(error).__mro__]
    return any(module.startswith(("torch._dynamo.exc", "torch._inductor.exc")) for module in modules)
