"""Keras networks as detectors, from pixels to boxes with scores and classes.

The network's outputs have the form of the public YOLOv3 network: (cells, anchors x (5 + classes)) for the cells of grids of
32, 16 and 8 pixels, in row-major order, coarsest grid first; for 416 x 416 pixels and 80 classes that is (3549, 255).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from mlpipe.arch import boxes
from mlpipe.arch.boxes import BOX
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.arch.detector import Anchors, anchors_of, box_target, detector_outputs, halved
from mlpipe.arch.keras.classifier import output_step
from mlpipe.arch.keras.graph import Graph
from mlpipe.errors import ConfigError, counted, problem

# Cell size of the coarsest grid in pixels.
_COARSEST = 32
# Thresholds of score and IoU for non-maximum suppression.
_MIN_SCORE, _NMS_IOU = 0.01, 0.5


class KerasDetector(nn.Module):
    """A Keras network that returns raw rows of grid cells; see `mlpipe.arch.detector.Detector` for the outputs.

    Args:
        graph: The network.
        name: The target.
        anchors: Widths and heights in pixels, shape (grids, anchors, 2), coarsest grid first.
        std: Divisor of the pixels, for each channel.

    Attributes:
        begun: One sentence about the stored weights that it started from; empty for none.
        origin: As in `mlpipe.arch.keras.classifier.KerasClassifier`.
        drawing: As in `mlpipe.arch.keras.classifier.KerasClassifier`.
        takes_targets: As in `mlpipe.arch.detector.Detector`.
        listed: As in `mlpipe.arch.detector.Detector`.
    """

    takes_targets = True
    listed = staticmethod(boxes.listed)

    def __init__(self, graph: Graph, name: str, anchors: Tensor, std: list[float]) -> None:
        super().__init__()
        self.begun, self.drawing = "", ""
        self.origin: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.backbone = graph
        self.heads = nn.ModuleDict({name: nn.Identity()})
        self.register_buffer("mean", torch.zeros(1, len(std), 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.register_buffer("anchors", anchors)
        self.std: Tensor
        self.anchors: Tensor
        self._name = name

    @property
    def image_layers(self) -> nn.Module:
        """As in `mlpipe.arch.detector.Detector`, but not available.

        Raises:
            ConfigError: Always.
        """
        wrong = "is one graph whose answers come from several grids, none of which all of them depend on"
        raise ConfigError(problem("heat maps", f"the network {wrong}"))

    def forward(self, images: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """Return raw rows in training, detections of shape (n, 100, 6) in evaluation.

        Args:
            images: Shape (n, channels, height, width), 0 to the pixels' peak.
            target: True boxes; their presence only requests raw rows in addition to the detections.
        """
        sides = images.shape[2], images.shape[3]
        # The graph has channels first, also for an output of two axes.
        values = self.backbone(images.to(self.std.dtype) / self.std).mT
        raw = boxes.rows(values, _grids(sides, len(self.anchors)), sides, self.anchors)
        return detector_outputs(self, self._name, raw, sides, target, _MIN_SCORE, _NMS_IOU)

    def half(self) -> Self:
        """As in `mlpipe.arch.detector.Detector`."""
        return halved(self)

    @property
    def taken_off(self) -> int:
        """The number of operations removed from the file's graph: none."""
        return 0

    def by_layer(self) -> dict[str, Tensor]:
        """Return the network's tensors, named `layer.tensor` after the layers in the file."""
        return {name: tensor.detach() for name, tensor in self.backbone.state_dict().items()}


def detector(graph: Graph, heads: Mapping[str, Head], pixels: Pixels, white: float, anchors: Anchors) -> KerasDetector:
    """Build a network for boxes.

    Args:
        graph: The whole network.
        heads: The head of the target.
        pixels: The format of the images.
        white: The network's value of white pixels.
        anchors: As for `mlpipe.arch.detector.yolo`, the same number for each grid.

    Raises:
        ConfigError: When its outputs are not rows of such cells, or do not have the width that the classes require.
    """
    target, head = box_target(heads, "keras_json")
    step, shape, sides = output_step(graph), graph.shapes[graph.outputs[0]], (pixels.sides[0], pixels.sides[1])
    grids = next((count for count in range(1, 5) if len(shape) == 2 and _cell_count(sides, count) == shape[0]), 0)
    if not grids:
        cells = " or ".join(str(_cell_count(sides, count)) for count in (2, 3))
        wrong = f"{step.layer} gives {shape}, boxes come from the cells of grids of 32, 16 and 8 pixels"
        fix = f"end it in a Reshape to [-1, numbers of a cell] of each grid, and a Concatenate of axis 1: ({cells}, numbers)"
        raise ConfigError(problem("arch.layers", wrong, fix=fix))
    width = BOX + head.size
    anchor_count, left = divmod(shape[1], width)
    if left or not anchor_count:
        wrong = (
            f"{step.layer} gives {shape[1]} numbers for a cell, the task has {counted(head.size, 'class', 'classes')}"
        )
        fix = f"give {width} for each anchor (a box, objectness, and the classes): {3 * width} for three"
        raise ConfigError(problem("arch.layers", wrong, fix=fix))
    if isinstance(anchors, list) and len(anchors) != anchor_count * grids:
        wrong = f"the network has {counted(anchor_count, 'anchor')} for each of {counted(grids, 'grid')}"
        raise ConfigError(problem("arch.anchors", wrong, got=anchors, fix=f"list {anchor_count * grids}"))
    sizes = anchors_of(anchors, anchor_count * grids, head, pixels, grids)
    return KerasDetector(graph, target, sizes, [pixels.peak / white] * pixels.channels)


def _grids(sides: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Return rows and columns of `count` grids, coarsest first; sides are rounded up to whole cells."""
    strides = [_COARSEST >> place for place in range(count)]
    return [(-(-sides[0] // stride), -(-sides[1] // stride)) for stride in strides]


def _cell_count(sides: tuple[int, int], count: int) -> int:
    return sum(rows * columns for rows, columns in _grids(sides, count))
