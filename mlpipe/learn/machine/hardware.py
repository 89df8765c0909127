"""Precision and layout for `trainer.precision=auto`: a table by hardware and image size, so that runs are reproducible."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mlpipe.config.schema import AUTO, Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.errors import problem
from mlpipe.learn.kind import of as part_of

# The image size from which channels-last is faster in 32 bit on a CPU without matrix units; below it is slower.
CHANNELS_LAST_FROM = 128


@dataclass(frozen=True)
class Numerics:
    """Precision and memory layout.

    Attributes:
        precision: Lightning's name, such as `32-true` or `bf16-mixed`.
        channels_last: Whether images and kernels use the channels-last memory format.
    """

    precision: Any
    channels_last: bool

    def __str__(self) -> str:
        return f"{self.precision}{', channels last' if self.channels_last else ''}"


def numerics(setting: Any, size: int, accelerator: str = "auto") -> Numerics:
    """Return precision and layout for a `trainer.precision` and an image size on this machine.

    | hardware | size | precision | layout |
    |---|---|---|---|
    | CUDA with bfloat16 | any | bf16-mixed | channels last |
    | other CUDA, MPS | any | 32-true | contiguous |
    | CPU with matrix units for bfloat16 (AMX) | any | bf16-mixed | channels last |
    | other CPU | from 128 | 32-true | channels last |
    | other CPU | below 128 | 32-true | contiguous |

    `scripts/bench_train.py` checks the rows for the machine that it runs on. A given precision is kept; the layout then
    follows the same table.

    Args:
        setting: `auto`, or one of Lightning's precisions.
        size: Height of the images in pixels; 0 for features.
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


def full_precision(device: str) -> AbstractContextManager[Any]:
    """Return a context in which operations keep the precision of their arguments, whatever that of the network.

    In mixed precision products of matrices are otherwise rounded to three digits, and the cross-entropy of probabilities
    is refused.

    Args:
        device: The type of the device, such as `cuda`.
    """
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def accelerator(trainer: Mapping[str, Any]) -> str:
    """Return the device of a `trainer` section on this machine: `cuda`, `mps` or `cpu`, otherwise the given name."""
    setting = str(trainer.get("accelerator", "auto"))
    if setting in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if setting in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu" if setting == "auto" else setting


def device_count(trainer: Mapping[str, Any]) -> int:
    """Return how many devices train one fold together; `trainer.devices=auto` is every GPU, or one device without GPUs."""
    setting = trainer.get("devices", 1)
    if setting == "auto":
        return torch.cuda.device_count() if accelerator(trainer) == "cuda" else 1
    return int(setting)


def backend(trainer: Mapping[str, Any]) -> str:
    """Return the communication backend of processes that train one fold together: `nccl` between GPUs, else `gloo`."""
    return "nccl" if accelerator(trainer) == "cuda" else "gloo"


def device_problems(trainer: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every request of a `trainer` section that this machine cannot fulfil."""
    kind, devices = accelerator(trainer), device_count(trainer)
    availability = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "gpu": False}
    if not availability.get(kind, True):
        wrong = "this machine has no such device that torch can use"
        return [problem("trainer.accelerator", wrong, got=kind, fix="use trainer.accelerator=auto or cpu")]
    if kind == "cuda" and devices > torch.cuda.device_count():
        wrong = f"there are {torch.cuda.device_count()} GPUs"
        return [problem("trainer.devices", wrong, got=devices, fix="use as many, or trainer.devices=auto")]
    if kind not in ("cuda", "cpu") and devices > 1:
        wrong = f"several devices are GPUs of NVIDIA or processes on the CPU, this is {kind}"
        return [problem("trainer.devices", wrong, got=devices, fix="use 1")]
    if trainer.get("sync_batchnorm") and kind != "cuda":
        wrong = f"torch synchronises batch statistics between GPUs only, this is {kind}"
        return [problem("trainer.sync_batchnorm", wrong, got=True, fix="leave it out")]
    return []


def numerics_for(recipe: Recipe, pack: Pack, kind: str) -> Numerics:
    """Return precision and memory layout for a recipe's images on this machine.

    Args:
        recipe: The recipe.
        pack: The cached images.
        kind: The kind of predictions.
    """
    accelerator = str(recipe.trainer.get("accelerator", AUTO))
    setting = recipe.trainer.get("precision", AUTO)
    if setting == AUTO and part_of(kind).NEEDS_ALL_DIGITS:
        setting = "32-true"
    chosen = numerics(setting, pack.shape[0], accelerator)
    # Channels-last applies to images only.
    return chosen if len(pack.shape) == 2 else replace(chosen, channels_last=False)


@functools.cache
def has_matrix_units() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware (AMX), as reported by Linux."""
    if platform.system() != "Linux":
        return False
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and "amx_bf16" in flags.read_text("utf-8", errors="replace")
