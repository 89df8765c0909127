"""Anchor-based detectors on any timm network, from pixels to boxes with scores and classes, normalisation included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

import timm as timm_library
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.arch import adapt, boxes, classifier, initial_weights, timm_body
from mlpipe.arch.classifier import RAW, Head, Pixels
from mlpipe.errors import ConfigError, listing, problem

Anchors = Literal["kmeans"] | list[list[float]] | None
Network = TypeVar("Network", bound=nn.Module)


class Detector(nn.Module):
    """A network that normalises pixels and detects objects.

    In training it returns raw rows (`mlpipe.arch.boxes`), the input of the loss; in evaluation, detections. In evaluation
    with targets it returns both, the raw rows under the target's name plus `RAW`.

    Args:
        backbone: Maps images to feature maps, coarsest last.
        neck: Maps these to the inputs of the heads, coarsest first.
        heads: One head per map, with anchors times (5 + classes) output channels.
        name: The target.
        anchors: Widths and heights in pixels, shape (maps, anchors, 2), coarsest map first.
        mean: Mean of each channel that the backbone expects, on the scale of the input pixels.
        std: Standard deviation of each channel, on the same scale.
        min_score: As for `mlpipe.arch.boxes.suppressed`.
        nms_iou: `iou` of `mlpipe.arch.boxes.suppressed`.

    Attributes:
        begun: One sentence about the stored weights that it started from; empty for none.
        takes_targets: Whether `forward` takes targets.
        listed: `mlpipe.arch.boxes.listed`, for files of detections.
    """

    takes_targets = True
    listed = staticmethod(boxes.listed)

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        heads: nn.Module,
        name: str,
        anchors: Tensor,
        mean: list[float],
        std: list[float],
        min_score: float,
        nms_iou: float,
    ) -> None:
        super().__init__()
        self.begun = ""
        self.backbone, self.neck, self.heads = backbone, neck, nn.ModuleDict({name: heads})
        for key, values in (("mean", mean), ("std", std)):
            self.register_buffer(key, torch.tensor(values).view(1, -1, 1, 1))
        self.register_buffer("anchors", anchors)
        self.mean: Tensor
        self.std: Tensor
        self.anchors: Tensor
        self._name, self._min_score, self._nms_iou = name, min_score, nms_iou

    def half(self) -> Self:
        """Convert the network to half precision, except the anchors, because boxes are decoded in single precision."""
        return halved(self)

    def no_weight_decay(self) -> set[str]:
        """Return the parameters that timm exempts from weight decay; its feature wrapper does not pass them on."""
        return timm_body.undecayed(self)

    @property
    def image_layers(self) -> nn.Module:
        """The part whose layers have spatial outputs, from one of which heat maps are computed."""
        return self.backbone

    def forward(self, images: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """Return raw rows in training, detections of shape (n, 100, 6) in evaluation.

        Args:
            images: Shape (n, channels, height, width), 0 to the pixels' peak.
            target: True boxes; their presence only requests raw rows in addition to the detections.
        """
        height, width = images.shape[2:]
        maps = self.neck(self.backbone(images.to(self.mean.dtype).sub(self.mean).div_(self.std)))
        heads = self.heads[self._name]
        assert isinstance(heads, nn.ModuleList)
        outputs = [head(feature_map) for head, feature_map in zip(heads, maps, strict=True)]
        values = torch.cat([output.flatten(2) for output in outputs], 2).mT
        grids = [(output.shape[2], output.shape[3]) for output in outputs]
        raw = boxes.rows(values, grids, (height, width), self.anchors)
        return detector_outputs(self, self._name, raw, (height, width), target, self._min_score, self._nms_iou)


def halved(network: Network) -> Network:
    """Convert a detector to half precision, except its anchors, which need single precision.

    Args:
        network: A detector with anchors, changed in place.
    """
    anchors = network.anchors
    nn.Module.half(network)
    network.anchors = anchors
    return network


def detector_outputs(
    network: nn.Module,
    name: str,
    raw: Tensor,
    sides: tuple[int, int],
    target: Tensor | None,
    min_score: float,
    nms_iou: float,
) -> dict[str, Tensor]:
    """Return a detector's outputs by name, from its raw rows and its mode; see `Detector`."""
    if network.training:
        return {name: raw}
    outputs = {name: boxes.detections(raw, sides, min_score=min_score, iou=nms_iou)}
    return outputs if target is None else {**outputs, name + RAW: raw}


class Pyramid(nn.Module):
    """A top-down feature pyramid with maps of one width (Lin et al. 2017; YOLOv3, section 2.3).

    Args:
        channels: Channels of the input maps, coarsest last.
        width: Channels of the output maps.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.sides = nn.ModuleList([_convolution(count, width, 1) for count in reversed(channels)])
        self.merged = nn.ModuleList([_convolution(width, width, 3) for _ in channels])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the output maps, coarsest first."""
        outputs: list[Tensor] = []
        for side, merged, feature_map in zip(self.sides, self.merged, reversed(maps), strict=True):
            own = side(feature_map)
            if outputs:
                own = own + F.interpolate(outputs[-1], size=own.shape[2:], mode="nearest")
            outputs.append(merged(own))
        return outputs


def _convolution(before: int, after: int, kernel: int) -> nn.Sequential:
    layer = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.SiLU(inplace=True))


def yolo(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    backbone: str,
    name: str,
    pretrained: bool | str = True,
    weights: str | None = None,
    weights_strict: bool = True,
    in_chans: Annotated[int, ">= 1"] | None = None,
    strides: list[int],
    width: Annotated[int, ">= 1"] = 96,
    anchors: Literal["kmeans"] | list[list[float]] | None = None,
    anchors_per_cell: Annotated[int, ">= 1"] = 3,
    min_score: Annotated[float, ">= 0", "< 1"] = 0.01,
    nms_iou: Annotated[float, "> 0", "<= 1"] = 0.5,
    freeze: bool | Literal["backbone"] = False,
    pretrained_fallback: Literal["random"] | None = None,
) -> Detector:
    """Build a light detector of the YOLOv3 type (Redmon & Farhadi 2018) on feature maps of any timm network.

    Args:
        heads: The head of the target; set by the program.
        pixels: The format of the images; set by the program.
        backbone: Name of the backbone in timm.
        name: Name of the network in records.
        pretrained: True: timm's pretrained weights, downloaded or from its cache; False: random weights; or the name of a
            local package of weights.
        weights: A weights file of the whole network or of the backbone alone; replaces `pretrained`.
        weights_strict: False: load what fits from that file, however little that is.
        in_chans: Number of input channels; None: as many as the images have.
        strides: Cell size in pixels of each grid, finest first.
        width: Channels of the feature maps before the heads.
        anchors: Widths and heights in pixels of the network's input, smallest first, the same number for each stride;
            `kmeans`: computed from the training boxes; None: those of the paper, scaled to the image size.
        anchors_per_cell: Number of boxes that a cell predicts, unless anchors are listed.
        min_score: Detections with a lower score are dropped.
        nms_iou: Of two boxes of a class that overlap by more than this, the one with the lower score is dropped.
        freeze: True or `backbone`: do not train the backbone.
        pretrained_fallback: `random`: continue with random weights when the download fails.

    Raises:
        ConfigError: When the task has no boxes, or the network no feature maps of these strides.
        MlpipeError: When a download fails.
        DataError: When a weights file does not fit.
    """
    target, head = box_target(heads, name)
    if isinstance(anchors, list) and (not anchors or len(anchors) % len(strides)):
        wrong = f"{len(anchors)} anchors are not the same number for each of {len(strides)} strides"
        raise ConfigError(problem("arch.anchors", wrong, fix="list as many for each"))
    count = len(anchors) if isinstance(anchors, list) else anchors_per_cell * len(strides)
    channels = in_chans or pixels.channels
    options = {"in_chans": channels, "features_only": True, "out_indices": _indices(backbone, strides)}
    start = pretrained if weights is None else False
    body, source = classifier.body(backbone, start, options, pretrained_fallback)
    settings = timm_library.get_pretrained_cfg(backbone, allow_unregistered=True)
    mean, std = classifier.statistics({} if settings is None else dict(vars(settings)), channels, pixels)
    sizes = anchors_of(anchors, count, head, pixels, len(strides))
    outputs = nn.ModuleList([_output(width, sizes.shape[1], head.size) for _ in strides])
    neck = Pyramid(body.feature_info.channels(), width)
    network = Detector(body, neck, outputs, target, sizes, mean, std, min_score, nms_iou)
    if weights is not None:
        network.begun = initial_weights.load(network, initial_weights.of_file(weights, weights_strict))
    elif source:
        network.begun = initial_weights.pretrained_report(network, source)
    adapt.freeze(network, freeze)
    return network


def box_target(heads: Mapping[str, Head], name: str) -> tuple[str, Head]:
    """Return the only target of a detector and its head.

    Args:
        heads: The head of each target.
        name: Name of the network in records.

    Raises:
        ConfigError: When there are several targets, or the target has no boxes.
    """
    if len(heads) > 1:
        raise ConfigError(problem("mode.multitask", "boxes are learned alone", fix="leave it out"))
    ((target, head),) = heads.items()
    if not head.most:
        fix = "use arch=resnet18 or another network of timm, or a task with boxes (task=boxes)"
        raise ConfigError(problem("arch", "finds objects in images, the task has no boxes", got=name, fix=fix))
    return target, head


def anchors_of(anchors: Anchors, count: int, head: Head, pixels: Pixels, grids: int) -> Tensor:
    """Return the anchors of a network, shape (grids, anchors, 2), grid with the largest anchors first.

    Args:
        anchors: As for `yolo`.
        count: Total number of anchors.
        head: The head, whose training targets are used for `kmeans`.
        pixels: The format of the images.
        grids: Number of grids.
    """
    paper = boxes.paper_anchors((pixels.sides[0], pixels.sides[1]), count)
    if isinstance(anchors, list):
        chosen = torch.tensor(anchors, dtype=torch.float32)
        if chosen.ndim != 2 or chosen.shape[1] != 2 or not bool((chosen > 0).all()):
            fix = "write [[width, height], ...] in pixels"
            raise ConfigError(problem("arch.anchors", "is no list of widths and heights", got=anchors, fix=fix))
    elif anchors == "kmeans" and head.targets is not None and len(sizes := boxes.sizes_of(head.targets())):
        chosen = torch.from_numpy(boxes.clustered(sizes, count)).float()
    else:
        # Weights that are loaded later replace these anchors.
        chosen = torch.from_numpy(paper).float()
    return chosen.view(grids, -1, 2).flip(0).contiguous()


def _indices(backbone: str, strides: Sequence[int]) -> list[int]:
    """Return the indices of a timm network's feature maps with the given strides.

    Raises:
        ConfigError: When the network has no feature maps of these strides.
    """
    try:
        with torch.device("meta"):
            whole: Any = timm_library.create_model(backbone, features_only=True, pretrained=False)
        reductions = list(whole.feature_info.reduction())
    except (RuntimeError, ValueError, AssertionError, TypeError, KeyError, AttributeError, IndexError):
        reductions = []
    if not strides or not set(strides) <= set(reductions) or len(set(reductions)) < len(reductions):
        fix = "use a network with features at several resolutions, such as resnet34"
        if reductions and len(set(reductions)) == len(reductions):
            fix = f"choose among {listing(reductions)}"
        wrong = f"{backbone} has no feature maps of these strides"
        raise ConfigError(problem("arch.strides", wrong, got=list(strides), fix=fix))
    return [reductions.index(stride) for stride in sorted(strides)]


def _output(width: int, anchors: int, classes: int) -> nn.Sequential:
    """Return the head of one feature map, with a low initial objectness (Lin et al. 2017, focal loss)."""
    last = nn.Conv2d(width, anchors * (boxes.BOX + classes), 1)
    nn.init.normal_(last.weight, std=0.01)
    rare = torch.zeros(anchors, boxes.BOX + classes)
    rare[:, 4] = -4.6
    last.bias = nn.Parameter(rare.flatten())
    return nn.Sequential(_convolution(width, width, 3), last)
