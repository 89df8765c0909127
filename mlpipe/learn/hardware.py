"""What `trainer.precision=auto` means: a table over hardware and image size, never a timing, so that runs repeat."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

# The image size from which channels-last pays in 32 bit on a CPU without matrix units, and below which it costs.
CHANNELS_LAST_FROM = 128


@dataclass(frozen=True)
class Numerics:
    """How numbers are kept.

    Attributes:
        precision: Lightning's word, such as `32-true` or `bf16-mixed`.
        channels_last: Whether images and kernels are laid out with the channels last.
    """

    precision: Any
    channels_last: bool

    def __str__(self) -> str:
        return f"{self.precision}{', channels last' if self.channels_last else ''}"


def numerics(setting: Any, size: int, accelerator: str = "auto") -> Numerics:
    """What a `trainer.precision` means for images of a size on this machine.

    | hardware | size | precision | layout |
    |---|---|---|---|
    | CUDA with bfloat16 | any | bf16-mixed | channels last |
    | other CUDA, MPS | any | 32-true | contiguous |
    | CPU with matrix units for bfloat16 (AMX) | any | bf16-mixed | channels last |
    | other CPU | from 128 | 32-true | channels last |
    | other CPU | below 128 | 32-true | contiguous |

    `scripts/bench_train.py` checks the rows of the machine that it runs on. A precision that is given is kept; the
    layout then follows the same table.

    Args:
        setting: `auto`, or one of Lightning's precisions.
        size: Height of the images in pixels; 0 for features that are no images.
        accelerator: Lightning's accelerator.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        chosen = Numerics("bf16-mixed", True) if torch.cuda.is_bf16_supported() else Numerics("32-true", False)
    elif accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        chosen = Numerics("32-true", False)
    elif has_matrix_units():
        chosen = Numerics("bf16-mixed", True)
    else:
        chosen = Numerics("32-true", size >= CHANNELS_LAST_FROM)
    return chosen if setting == "auto" else Numerics(setting, chosen.channels_last)


@functools.cache
def has_matrix_units() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware (AMX), as Linux says."""
    if platform.system() != "Linux":
        return False
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and "amx_bf16" in flags.read_text("utf-8", errors="replace")
