"""Detectors with anchors on any timm network, normalisation included: pixels in, boxes with scores and classes out."""

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
    """Normalises pixels and finds objects.

    In training it gives raw rows (`mlpipe.arch.boxes`), of which a loss is computed; in evaluation detections, and with
    targets beside the images both, the rows under the target's name and `RAW`.

    Args:
        backbone: Images to feature maps, coarse ones last.
        neck: These to what the heads see, coarse ones first.
        heads: For each map a row of anchors times (5 + classes) channels.
        name: The target.
        anchors: Widths and heights in pixels, shape (maps, anchors, 2), those of the coarsest map first.
        mean: The mean of each channel that the backbone was made for, as pixels are given.
        std: The standard deviation alike.
        min_score: As for `mlpipe.arch.boxes.suppressed`.
        nms_iou: Its `iou`.

    Attributes:
        begun: What stored weights it began with, one sentence; empty for none.
        takes_targets: Whether it takes the targets of images beside them.
        listed: `mlpipe.arch.boxes.listed`, for files of what it finds.
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
        """The network in half precision; anchors stay as they are, for boxes are decoded in single precision."""
        return halved(self)

    def no_weight_decay(self) -> set[str]:
        """The parameters that the backbone's network says should not decay; what gives its features does not say."""
        return timm_body.undecayed(self)

    @property
    def image_layers(self) -> nn.Module:
        """The part whose layers lie on the image, one of which a heat map is made of."""
        return self.backbone

    def forward(self, images: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """Raw rows in training, detections of shape (n, 100, 6) in evaluation.

        Args:
            images: Shape (n, channels, height, width), 0 to the pixels' peak.
            target: What is to be found; it only asks for raw rows beside the detections.
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
    """A detector whose layers compute in half precision, which half of an anchor's digits would not be enough for.

    Args:
        network: A detector with anchors; it is changed.
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
    """What a detector gives of its raw rows in training and in evaluation, by name; see `Detector`."""
    if network.training:
        return {name: raw}
    outputs = {name: boxes.detections(raw, sides, min_score=min_score, iou=nms_iou)}
    return outputs if target is None else {**outputs, name + RAW: raw}


class Pyramid(nn.Module):
    """Feature maps of one width, each with what the coarser ones know (Lin et al. 2017; YOLOv3, section 2.3).

    Args:
        channels: Of the maps, coarse ones last.
        width: Channels of what comes out.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.sides = nn.ModuleList([_convolution(count, width, 1) for count in reversed(channels)])
        self.merged = nn.ModuleList([_convolution(width, width, 3) for _ in channels])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps, coarse ones first."""
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
    """A light detector in the form of YOLOv3 (Redmon & Farhadi 2018) on feature maps of any timm network.

    Args:
        heads: What the target gets; the program gives it.
        pixels: What the images are like; the program gives it.
        backbone: timm's name.
        name: What records call the network.
        pretrained: True: timm's weights, downloaded or from its cache; False: random; or the name of a local extra.
        weights: A file of weights of the whole network, or of the backbone alone, that replaces `pretrained`.
        weights_strict: False loads what fits of that file, however little that is.
        in_chans: Channels of the network; None: as the images.
        strides: How many pixels a cell of each grid has on a side, fine grids first.
        width: Channels of the maps that the heads see.
        anchors: Widths and heights in pixels of what the network sees, small ones first, as many for each stride;
            `kmeans`: from the training boxes; None: those of the paper, made for the size of the images.
        anchors_per_cell: How many boxes a cell predicts, where anchors are not listed.
        min_score: Detections with a smaller score are left out.
        nms_iou: Of two boxes of a class that overlap by more, the one with the smaller score is left out.
        freeze: True or `backbone`: the backbone does not learn.
        pretrained_fallback: `random` goes on with random weights when a download fails.

    Raises:
        ConfigError: When the task has no boxes, or the network no such feature maps.
        MlpipeError: When a download fails.
        DataError: When a file of weights does not fit.
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
    """The one target of a network that finds objects.

    Args:
        heads: What each target gets.
        name: What records call the network.

    Raises:
        ConfigError: When there are several, or it has no boxes.
    """
    if len(heads) > 1:
        raise ConfigError(problem("mode.multitask", "boxes are learned alone", fix="leave it out"))
    ((target, head),) = heads.items()
    if not head.most:
        fix = "use arch=resnet18 or another network of timm, or a task with boxes (task=boxes)"
        raise ConfigError(problem("arch", "finds objects in images, the task has no boxes", got=name, fix=fix))
    return target, head


def anchors_of(anchors: Anchors, count: int, head: Head, pixels: Pixels, grids: int) -> Tensor:
    """Anchors as a network has them, shape (grids, anchors, 2), the largest first grid by grid.

    Args:
        anchors: As of `yolo`.
        count: How many there are in all.
        head: Gives the training boxes where they decide.
        pixels: What the images are like.
        grids: How many grids there are.
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
        # Where weights follow, they hold the anchors.
        chosen = torch.from_numpy(paper).float()
    return chosen.view(grids, -1, 2).flip(0).contiguous()


def _indices(backbone: str, strides: Sequence[int]) -> list[int]:
    """Which feature maps of a network of timm have so many pixels in a cell.

    Raises:
        ConfigError: When it has no such maps.
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
    """A map to the rows of its cells; an object is thought to be rare at first (Lin et al. 2017, focal loss)."""
    last = nn.Conv2d(width, anchors * (boxes.BOX + classes), 1)
    nn.init.normal_(last.weight, std=0.01)
    rare = torch.zeros(anchors, boxes.BOX + classes)
    rare[:, 4] = -4.6
    last.bias = nn.Parameter(rare.flatten())
    return nn.Sequential(_convolution(width, width, 3), last)
