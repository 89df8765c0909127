"""One network from pixels to calibrated probabilities, and its file: ONNX that needs nothing of this program."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpipe import files
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.learn.module import TARGET
from mlpipe.predicting.row_tensors import Change, Rows

OPSET = 18
INPUT, OUTPUTS = "pixels", ("values", "logits")
# Names in the file's metadata, each with JSON.
METADATA = "mlpipe"
_MOST = {"images": 65_536, "side": 65_536}


@dataclass(frozen=True)
class Part:
    """One network of the mixture.

    Attributes:
        network: Samples (n, channels, *spatial), to a mapping whose `target` are rows.
        calibration: What its rows go through, as it is stored; None: nothing.
        preprocessing: What happens to samples before it sees them.
    """

    network: nn.Module
    calibration: Mapping[str, Any] | None
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Mixture:
    """How rows of several networks become those of the whole.

    Attributes:
        members: For each member its networks, whose mean it is.
        weights: The weight of each member, summing to one.
        of_folds: What the mean over a member's networks is of, `logits` or `probabilities`.
        of_members: What the mean over members is of.
        calibration: What the mixture goes through, as it is stored; None: nothing.
        from_raw: Whether the mixture's calibration is of uncalibrated rows.
    """

    members: Sequence[Sequence[Part]]
    weights: Sequence[float]
    of_folds: str
    of_members: str
    calibration: Mapping[str, Any] | None
    from_raw: bool


class Whole(nn.Module):
    """Pixels, shape (n, height, width, channels) or as samples of other axes lie, to values and logits, (n, outputs) each.

    Args:
        mixture: The networks and how they are mixed.
        rows: What happens to the rows of the kind.
        resizes: Whether pixels of any size are taken and resized; else of the size that the networks see.
    """

    def __init__(self, mixture: Mixture, rows: Rows, *, resizes: bool) -> None:
        super().__init__()
        self._mixture, self._rows = mixture, rows
        self.networks = nn.ModuleList(part.network for parts in mixture.members for part in parts)
        self._changes: list[list[Change | None]] = [
            [None if part.calibration is None else rows.calibrated(part.calibration) for part in parts]
            for parts in mixture.members
        ]
        self._last = None if mixture.calibration is None else rows.calibrated(mixture.calibration)
        self._resizes = resizes

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities or numbers, and calibrated logits, float32."""
        whole, seen = self._mixture, pixels.movedim(-1, 1)
        members: list[Tensor] = []
        for parts, changes in zip(whole.members, self._changes, strict=True):
            found = [self._of_part(part, change, seen) for part, change in zip(parts, changes, strict=True)]
            members.append(self._rows.combine(found, [1 / len(found)] * len(found), whole.of_folds))
        mixed = self._rows.combine(members, whole.weights, whole.of_members)
        if self._last is not None:
            mixed = self._last(mixed)
        return self._rows.values(mixed).float(), mixed.float()

    def _of_part(self, part: Part, change: Change | None, seen: Tensor) -> Tensor:
        inputs = resized(seen, part.preprocessing) if self._resizes else seen.float()
        rows: Tensor = part.network(inputs)[TARGET].double()
        return rows if change is None or self._mixture.from_raw else change(rows)


def is_resizable(preprocessing: Preprocessing) -> bool:
    """Whether a file can hold the resize itself: to one size, whatever the shape, by the bilinear filter."""
    return (
        preprocessing.sides is not None
        and preprocessing.resize == "squash"
        and preprocessing.interpolation == "bilinear"
        and preprocessing.before is None
        and not preprocessing.is_ragged
    )


def resized(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Pixels as Pillow's antialiased bilinear resize makes them, at most one step of 255 apart, and most of them equal.

    First across and then down, whole numbers after each; Pillow goes the other way for images far higher than wide.

    Args:
        pixels: Shape (n, channels, height, width), uint8 or uint16.
        preprocessing: One that `is_resizable`.

    Returns:
        float32, of the wanted height and width.
    """
    assert preprocessing.sides is not None
    high, wide = preprocessing.sides
    peak, values = 65535 if pixels.dtype == torch.uint16 else 255, pixels.float()
    across = _interpolated(values, (values.shape[2], wide))
    # Of more than 8 bits Pillow keeps the fractions between the two.
    down = _interpolated(_whole(across, peak) if peak == 255 else across, (high, wide))
    return _whole(down, peak)


def _interpolated(values: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(values, size=size, mode="bilinear", antialias=True, align_corners=False)


def _whole(values: Tensor, peak: int) -> Tensor:
    return torch.floor(values + 0.5).clamp(0, peak)


def save(whole: Whole, example: Tensor, path: Path, facts: Mapping[str, Any], *, any_size: bool) -> None:
    """Write the network as ONNX, durably.

    Args:
        whole: The network.
        example: Two samples such as it is given.
        path: The file.
        facts: What is kept in its metadata, under `METADATA` as JSON.
        any_size: Whether height and width may be any.
    """
    dims: dict[int, Any] = {0: torch.export.Dim("images", min=1, max=_MOST["images"])}
    if any_size:
        dims |= {axis: torch.export.Dim(name, min=1, max=_MOST["side"]) for axis, name in ((1, "height"), (2, "width"))}
    program = _quietly(
        lambda: torch.onnx.export(
            whole.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes={"pixels": dims},
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            verbose=False,
        )
    )
    program.model.metadata_props[METADATA] = json.dumps(facts, sort_keys=True, allow_nan=False)
    with files.durable(path) as temporary:
        program.save(str(temporary), external_data=False)


def _quietly(call: Callable[[], Any]) -> Any:
    """The exporter tells each of its steps, and warns of its own parts."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        return call()
