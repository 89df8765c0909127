"""Keras networks with a map as output, for masks and target images, from pixels to logits or values of every pixel.

For masks the outputs are logits, whatever the final activation; for target images the final activation is included.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mlpipe.arch.classifier import Head, Pixels
from mlpipe.arch.keras.classifier import output_step, without_activation
from mlpipe.arch.keras.graph import Graph
from mlpipe.errors import ConfigError, counted, problem


class KerasSegmenter(nn.Module):
    """A Keras network with a map as output.

    Args:
        graph: The network; for masks without a final softmax or sigmoid.
        name: The target.
        from_one: Whether its only map is the logit of the second of two classes.
        activation: The final activation in the file; empty: none that gives probabilities.
        std: Divisor of the pixels, for each channel.
        axes: Number of spatial axes of a sample; images have two.
        is_row: Whether the network takes rows, (n, channels, width), of images that are one pixel high.

    Attributes:
        origin: As in `mlpipe.arch.keras.classifier.KerasClassifier`.
        drawing: As in `mlpipe.arch.keras.classifier.KerasClassifier`.
    """

    def __init__(
        self,
        graph: Graph,
        name: str,
        from_one: bool,
        activation: str,
        std: list[float],
        axes: int = 2,
        is_row: bool = False,
    ) -> None:
        super().__init__()
        self.origin: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.drawing = ""
        # One sentence about the stored weights that it started from; empty for none.
        self.begun = ""
        self.backbone = graph
        self.heads = nn.ModuleDict({name: nn.Identity()})
        flat = [1] * axes
        self.register_buffer("mean", torch.zeros(1, len(std), *flat))
        self.register_buffer("std", torch.tensor(std).view(1, -1, *flat))
        self.std: Tensor
        self._name, self._from_one, self._activation, self._is_row = name, from_one, activation, is_row

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits (or log-probabilities, if the network ends in them) or values, (n, classes, *spatial), by target."""
        inputs = images.to(self.std.dtype) / self.std
        outputs: Tensor = self.backbone(inputs[:, :, 0] if self._is_row else inputs)
        if self._from_one:
            # One logit for two classes is equivalent to a softmax over 0 and the logit.
            outputs = torch.cat([torch.zeros_like(outputs), outputs], 1)
        return {self._name: outputs.log_softmax(1) if self._activation == "logsoftmax" else outputs}

    @property
    def taken_off(self) -> int:
        """The number of operations removed from the file's graph: a final activation."""
        return int(self._activation != "")

    def as_in_file(self, outputs: Tensor) -> Tensor:
        """Convert the outputs of `forward` to those of the network in the file, (n, maps, *spatial)."""
        if self._from_one:
            logits = outputs[:, 1:] - outputs[:, :1]
            return logits.sigmoid() if self._activation else logits
        return outputs.softmax(1) if self._activation == "softmax" else outputs

    def by_layer(self) -> dict[str, Tensor]:
        """Return the network's tensors, named `layer.tensor` after the layers in the file."""
        return {name: tensor.detach() for name, tensor in self.backbone.state_dict().items()}


def segmenter(graph: Graph, heads: Mapping[str, Head], pixels: Pixels, white: float) -> KerasSegmenter:
    """Build a network for masks or target images.

    Args:
        graph: The whole network, changed in place.
        heads: The head of the target.
        pixels: The format of the images.
        white: The network's value of white pixels.

    Raises:
        ConfigError: When its outputs are not the classes or channels of every pixel, or several tasks are learned together.
    """
    if len(heads) > 1:
        raise ConfigError(problem("mode.multitask", "masks and images are learned alone", fix="leave it out"))
    ((name, head),) = heads.items()
    step, activation = (output_step(graph), "") if head.of_values else without_activation(graph)
    shape = graph.shapes[graph.outputs[0]]
    if head.any_height and (len(shape) != 3 or shape[1] != pixels.sides[1]):
        fix = f"end it in a Reshape to [times, {pixels.sides[1]}, 1], or in a convolution of that width"
        wrong = f"{step.layer} gives {shape}, a solution is (times, {pixels.sides[1]}, 1)"
        raise ConfigError(problem("arch.layers", wrong, fix=fix))
    sides = head.sides or (None if head.of_values and len(pixels.sides) == 2 else pixels.sides)
    if not head.any_height and (len(shape) != len(pixels.sides) + 1 or (sides is not None and shape[:-1] != sides)):
        noun = "images" if len(pixels.sides) == 2 else "samples"
        fix = f"end it in a convolution at the {noun}' size"
        wrong = f"{step.layer} gives {shape}, {noun} are {' x '.join(map(str, pixels.sides))}"
        if sides is not None and sides != pixels.sides:
            fix = "end it at the targets' size, with UpSampling2D, Conv2DTranspose or strides on the way"
            wrong += f" and targets {' x '.join(map(str, sides))}"
        raise ConfigError(problem("arch.layers", wrong, fix=fix))
    from_one = shape[-1] == 1 and head.size == 2 and not head.of_values and activation in ("sigmoid", "")
    if shape[-1] != head.size and not from_one:
        has = counted(head.size, "channel") if head.of_values else counted(head.size, "class", "classes")
        wrong = f"{step.layer} gives {counted(shape[-1], 'map')}, the task has {has}"
        raise ConfigError(problem("arch.layers", wrong, fix=f"set its filters to {head.size}"))
    if activation == "sigmoid" and not from_one:
        fix = "end it in a softmax"
        wrong = f"{step.layer} ends in a sigmoid for each of {shape[-1]} classes, of which a pixel has one"
        raise ConfigError(problem("arch.layers", wrong, fix=fix))
    std = [pixels.peak / white] * pixels.channels
    axes = len(pixels.sides)
    is_row = axes == 2 and len(graph.shapes[0]) == 2
    return KerasSegmenter(graph, name, from_one, activation, std, axes, is_row)


def takes_rows(inputs: Mapping[str, tuple[int | None, ...] | None], pixels: Pixels) -> bool:
    """Return whether a network takes rows without a height and the images are one pixel high.

    Args:
        inputs: The shape of each input in the file.
        pixels: The format of the images.
    """
    shapes = list(inputs.values())
    is_row = len(pixels.sides) == 2 and pixels.sides[0] == 1
    return is_row and len(shapes) == 1 and shapes[0] is not None and len(shapes[0]) == 2
