"""A Keras network that gives the rows of a detector's cells: pixels in, boxes with scores and classes out.

The form is that of the public network of YOLOv3: (cells, anchors x (5 + classes)) for the cells of grids of 32, 16 and 8 pixels,
row by row, the coarsest grid first; 416 x 416 pixels and 80 classes are (3549, 255).
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

# Pixels on a side of a cell, of the coarsest grid of all.
_COARSEST = 32
# Detections with a smaller score are left out, and those that overlap a surer one of their class by more.
_MIN_SCORE, _NMS_IOU = 0.01, 0.5


class KerasDetector(nn.Module):
    """A Keras network that gives the rows of cells; see `mlpipe.arch.detector.Detector` for what comes out.

    Args:
        graph: The network.
        name: The target.
        anchors: Widths and heights in pixels, shape (grids, anchors, 2), those of the coarsest grid first.
        std: What pixels are divided by, for each channel.

    Attributes:
        begun: What stored weights it began with, one sentence; empty for none.
        origin: As of `mlpipe.arch.keras.classifier.KerasClassifier`.
        drawing: Alike.
        takes_targets: As of `mlpipe.arch.detector.Detector`.
        listed: As of `mlpipe.arch.detector.Detector`.
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
        """As of `mlpipe.arch.detector.Detector`, but there is none.

        Raises:
            ConfigError: Always.
        """
        wrong = "is one graph whose answers come from several grids, none of which all of them depend on"
        raise ConfigError(problem("heat maps", f"the network {wrong}"))

    def forward(self, images: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """Raw rows in training, detections of shape (n, 100, 6) in evaluation.

        Args:
            images: Shape (n, channels, height, width), 0 to the pixels' peak.
            target: What is to be found; it only asks for raw rows beside the detections.
        """
        sides = images.shape[2], images.shape[3]
        # Of two axes the channels come first in the graph.
        values = self.backbone(images.to(self.std.dtype) / self.std).mT
        raw = boxes.rows(values, _grids(sides, len(self.anchors)), sides, self.anchors)
        return detector_outputs(self, self._name, raw, sides, target, _MIN_SCORE, _NMS_IOU)

    def half(self) -> Self:
        """As of `mlpipe.arch.detector.Detector`."""
        return halved(self)

    @property
    def taken_off(self) -> int:
        """The number of operations of the file that the graph lacks: none."""
        return 0

    def by_layer(self) -> dict[str, Tensor]:
        """The network's tensors, named `layer.tensor` after the file's layers."""
        return {name: tensor.detach() for name, tensor in self.backbone.state_dict().items()}


def detector(graph: Graph, heads: Mapping[str, Head], pixels: Pixels, white: float, anchors: Anchors) -> KerasDetector:
    """A network for boxes.

    Args:
        graph: The whole network.
        heads: What the target gets.
        pixels: What the images are like.
        white: What the network takes white pixels as.
        anchors: As of `mlpipe.arch.detector.yolo`, as many for each grid.

    Raises:
        ConfigError: When it does not give the rows of such cells, or not as many numbers as the classes need.
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
    """Rows and columns of some grids, the coarsest first; a side that is no multiple of a cell has one more."""
    strides = [_COARSEST >> place for place in range(count)]
    return [(-(-sides[0] // stride), -(-sides[1] // stride)) for stride in strides]


def _cell_count(sides: tuple[int, int], count: int) -> int:
    return sum(rows * columns for rows, columns in _grids(sides, count))
