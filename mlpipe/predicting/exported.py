"""One network from pixels to calibrated probabilities, and its exported files, which run without this program."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlpipe import files
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.errors import MlpipeError, first_line, is_out_of_memory, problem
from mlpipe.learn.module import TARGET
from mlpipe.predicting import onnx_files, resizing
from mlpipe.predicting.output_tensors import Change, Tensors

OPSET = 18
INPUT = "pixels"
FEATURES = "features"
# The name of the file with the facts in an archive of torch.export.
FACTS = "mml.json"
_MOST = {"images": 65_536, "side": 65_536}


@dataclass(frozen=True)
class Part:
    """One network of the mixture.

    Attributes:
        network: Samples (n, channels, *spatial) to a mapping with rows as `target`.
        calibration: The stored calibration of its rows; None: none.
        preprocessing: The preprocessing of samples for the network.
    """

    network: nn.Module
    calibration: Mapping[str, Any] | None
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Mixture:
    """How the rows of several networks are mixed.

    Attributes:
        members: The networks of each member, which are averaged.
        weights: The weight of each member, summing to one.
        of_folds: What is averaged over a member's networks, `logits` or `probabilities`.
        of_members: What is averaged over members.
        calibration: The stored calibration of the mixture; None: none.
        from_raw: Whether the mixture's calibration takes uncalibrated rows.
    """

    members: Sequence[Sequence[Part]]
    weights: Sequence[float]
    of_folds: str
    of_members: str
    calibration: Mapping[str, Any] | None
    from_raw: bool


class Whole(nn.Module):
    """Pixels, shape (n, height, width, channels) or samples with other axes, to values and logits, (n, outputs) each.

    For dense kinds it returns values only, shape (n, height, width, outputs).

    Args:
        mixture: The networks and how they are mixed.
        rows: The operations on the outputs of networks of the kind.
        resizes: Whether pixels of any size are accepted and resized; else only the size of the networks' input.
        half: Whether the networks compute in half precision.
        features: Whether the inputs of the networks' heads are returned too, side by side, shape (n, features).
    """

    def __init__(
        self, mixture: Mixture, rows: Tensors, *, resizes: bool, half: bool = False, features: bool = False
    ) -> None:
        super().__init__()
        self._mixture, self._rows, self._half, self._features = mixture, rows, half, features
        networks = [part.network for parts in mixture.members for part in parts]
        self.networks = nn.ModuleList([copy.deepcopy(network).half() for network in networks] if half else networks)
        self._changes: list[list[Change | None]] = [
            [None if part.calibration is None else rows.calibrated(part.calibration) for part in parts]
            for parts in mixture.members
        ]
        self._final_change = None if mixture.calibration is None else rows.calibrated(mixture.calibration)
        self._resizes = resizes

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return (*self._rows.OUTPUTS, *[FEATURES] * self._features)

    @property
    def operators(self) -> Mapping[Any, Callable[..., Any]]:
        """Operators that ONNX lacks, and the function that writes each in operators of ONNX."""
        return self._rows.OPERATORS

    @property
    def decompositions(self) -> Mapping[Any, Callable[..., Any]]:
        """Operators that PyTorch lacks, and each as a function of PyTorch's own operators."""
        return self._rows.DECOMPOSITIONS

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return probabilities or numbers, and calibrated logits if there are some, float32."""
        whole, images = self._mixture, pixels.movedim(-1, 1)
        members: list[Tensor] = []
        features: list[Tensor] = []
        networks, inputs = iter(self.networks), self._inputs(images)
        for parts, changes in zip(whole.members, self._changes, strict=True):
            part_rows = [
                self._part_rows(part, next(networks), change, images, inputs[_input_key(part.preprocessing)], features)
                for part, change in zip(parts, changes, strict=True)
            ]
            members.append(self._rows.combine(part_rows, [1 / len(part_rows)] * len(part_rows), whole.of_folds))
        mixed = self._rows.combine(members, whole.weights, whole.of_members)
        if self._final_change is not None:
            mixed = self._final_change(mixed)
        outputs = {"values": self._rows.values(mixed), "logits": mixed}
        if features:
            outputs[FEATURES] = torch.cat([tensor.float() for tensor in features], 1)
        return tuple(outputs[name].float() for name in self.names)

    def _inputs(self, images: Tensor) -> dict[Hashable, Tensor]:
        """Return the inputs of the networks, computed once for all networks with the same preprocessing."""
        all_of = {
            _input_key(part.preprocessing): part.preprocessing for parts in self._mixture.members for part in parts
        }
        return {
            key: resized(images, preprocessing) if self._resizes else images.float()
            for key, preprocessing in all_of.items()
        }

    def _part_rows(
        self,
        part: Part,
        network: nn.Module,
        change: Change | None,
        images: Tensor,
        inputs: Tensor,
        features: list[Tensor],
    ) -> Tensor:
        values = inputs.half() if self._half else inputs
        if self._features:
            values = network.features(values)  # type: ignore[operator]
            features.append(values)
        outputs = network(values)[TARGET]
        rows = self._rows.placed(outputs, tuple(images.shape[2:]), tuple(inputs.shape[2:]))
        return rows if change is None or self._mixture.from_raw else change(rows)


def is_resizable(preprocessing: Preprocessing) -> bool:
    """Return whether a file can include the resize: to a fixed size, whatever the shape, by a filter that weighs pixels."""
    return (
        preprocessing.sides is not None
        and preprocessing.resize == "squash"
        and preprocessing.interpolation in (*resizing.FILTERS, resizing.LINEAR)
        and preprocessing.before is None
        and not preprocessing.is_ragged
    )


def resized(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return pixels as the pipeline resizes them, see `resizing`.

    Args:
        pixels: Shape (n, channels, height, width), uint8 or uint16.
        preprocessing: One that `is_resizable`.

    Returns:
        float32, of the wanted height and width.
    """
    assert preprocessing.sides is not None
    values = resizing.resized(pixels, *preprocessing.sides, preprocessing.interpolation)
    # With 16 bits Pillow keeps fractions, and sharp filters overshoot.
    return torch.round(values).clamp(0, 65535) if pixels.dtype == torch.uint16 else values


def _input_key(preprocessing: Preprocessing) -> Hashable:
    """Return a key that is equal for networks with the same input."""
    return preprocessing.sides, preprocessing.interpolation


def save(whole: Whole, example: Tensor, path: Path, facts: Mapping[str, Any], *, any_size: bool) -> None:
    """Write the network as ONNX, durably, with a checksum.

    Args:
        whole: The network.
        example: An input of two samples.
        path: The file.
        facts: The content of its metadata, see `mlpipe.predicting.onnx_files`.
        any_size: Whether height and width may vary.

    Raises:
        MlpipeError: When the exporter cannot write it.
    """
    program = _export(
        lambda: torch.onnx.export(
            whole.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes={INPUT: _dims(any_size)},
            input_names=[INPUT],
            output_names=list(whole.names),
            custom_translation_table=dict(whole.operators),
            verbose=False,
        )
    )
    shape = program.model.graph.inputs[0].shape
    if any(isinstance(shape[axis], int) for axis in _dims(any_size)):
        raise _export_error(f"it takes [{', '.join(map(str, shape))}] alone")
    program.model.metadata_props[onnx_files.METADATA] = onnx_files.text(facts)
    with files.durable(path) as temporary:
        program.save(str(temporary), external_data=False)
        onnx_files.seal(temporary)


def save_program(whole: Whole, example: Tensor, path: Path, facts: Mapping[str, Any], *, any_size: bool) -> None:
    """Write the network as a program of torch.export, durably.

    Args:
        whole: The network.
        example: An input of two samples.
        path: The file; `torch.export.load` reads it.
        facts: The content of its JSON file `FACTS`.
        any_size: Whether height and width may vary.

    Raises:
        MlpipeError: When the exporter cannot write it.
    """

    def written() -> Any:
        program = torch.export.export(whole.eval(), (example,), dynamic_shapes={INPUT: _dims(any_size)})
        own = dict(whole.decompositions)
        return program.run_decompositions(own) if own else program

    with torch.no_grad():
        program = _export(written)
    with files.durable(path) as temporary, temporary.open("wb") as handle:
        _quietly(lambda: torch.export.save(program, handle, extra_files={FACTS: files.json_text(facts)}))


def loaded(path: Path) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Load the program of a file that `save_program` has just written."""
    module = _quietly(lambda: torch.export.load(path).module())

    def call(pixels: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return tuple(module(pixels))

    return call


def _dims(any_size: bool) -> dict[int, Any]:
    dims: dict[int, Any] = {0: torch.export.Dim("images", min=1, max=_MOST["images"])}
    if any_size:
        dims |= {axis: torch.export.Dim(name, min=1, max=_MOST["side"]) for axis, name in ((1, "height"), (2, "width"))}
    return dims


def _export(call: Callable[[], Any]) -> Any:
    """Run an exporter and return its result.

    Raises:
        MlpipeError: When it fails, whatever error it raises.
    """
    try:
        return _quietly(call)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # The exporter's own message describes its steps; the cause of the exception says why it failed.
        raise _export_error(first_line(error.__cause__ or error)) from error


def _export_error(why: str) -> MlpipeError:
    wrong = f"the network cannot be written as such a file ({why})"
    return MlpipeError(problem("mode.format", wrong, fix="use mode.format=bundle"))


def _quietly(call: Callable[[], Any]) -> Any:
    """Silence the exporter, which logs each of its steps and warns about its own code."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        return call()
