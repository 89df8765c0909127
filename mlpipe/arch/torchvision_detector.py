"""Torchvision's detectors, from pixels to boxes with scores and classes, normalisation included."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import WeightsEnum, detection
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from mlpipe.arch import adapt, boxes, classifier, initial_weights
from mlpipe.arch.classifier import RAW, Head, Pixels
from mlpipe.arch.detector import box_target
from mlpipe.errors import ConfigError, problem

# Input channels of torchvision's backbones; images with one channel are repeated.
_CHANNELS = 3
# Held while torchvision's downloads are patched.
_MAKING = threading.Lock()


class TorchvisionDetector(nn.Module):
    """A network that normalises pixels and detects objects with a torchvision detector, which computes its own loss.

    In training with targets it returns the loss terms of the batch, repeated for each image, shape (n, terms). In evaluation
    it returns detections, and with targets also the loss terms under the target's name plus `RAW`. Random parts of the loss
    (the sampled regions) use the same seed in each evaluation.

    Args:
        model: The detector, changed in place. It has one class more than the task: the first is the background.
        name: The target.
        peak: The value of white.

    Attributes:
        begun: One sentence about the stored weights that it started from; empty for none.
        takes_targets: Whether `forward` takes targets.
        listed: As in `mlpipe.arch.detector.Detector`.
    """

    takes_targets = True
    listed = staticmethod(boxes.listed)

    def __init__(self, model: Any, name: str, peak: float) -> None:
        super().__init__()
        self.begun = ""
        for key, values in (("mean", model.transform.image_mean), ("std", model.transform.image_std)):
            self.register_buffer(key, torch.tensor(values).view(1, -1, 1, 1) * peak)
        self.mean: Tensor
        self.std: Tensor
        self.backbone: nn.Module = model.backbone
        # This module runs the backbone once and passes its features to the detector, for loss and detections.
        del model.backbone, model.transform
        model.transform, model.backbone = _AsItIs(), _Given()
        self.heads = nn.ModuleDict({name: model})
        self._name = name

    @property
    def image_layers(self) -> nn.Module:
        """As in `mlpipe.arch.detector.Detector`; the last layer here feeds all maps of the pyramid."""
        body = self.backbone.body
        assert isinstance(body, nn.Module)
        return body

    def forward(self, images: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """Return the loss terms in training, detections of shape (n, 100, 6) in evaluation.

        Args:
            images: Shape (n, channels, height, width), 0 to the pixels' peak; one channel counts as three.
            target: Boxes and classes, shape (n, boxes, 5), see `mlpipe.learn.losses.yolov3.Yolov3.forward`.
        """
        model: Any = self.heads[self._name]
        pixels = images.to(self.mean.dtype).sub(self.mean).div(self.std)
        features = self.backbone(pixels)
        if self.training and target is not None:
            return {self._name: self._terms(model, pixels, features, target)}
        with _training_mode(model, is_training=False):
            model.backbone.features = features
            detections = _detection_rows(model(pixels))
        if target is None:
            return {self._name: detections}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return {self._name: detections, self._name + RAW: self._terms(model, pixels, features, target)}

    def _terms(self, model: Any, pixels: Tensor, features: Mapping[str, Tensor], target: Tensor) -> Tensor:
        """Return the loss terms over the images with known boxes, repeated for each image, shape (n, terms)."""
        known = target[:, 0, 4] != -1
        if not known.any():
            return sum(feature_map.flatten(1).sum(1, keepdim=True) * 0 for feature_map in features.values())  # type: ignore[return-value]
        truth = []
        for rows in target[known]:
            true_boxes = rows[rows[:, 4] >= 0]
            truth.append({"boxes": true_boxes[:, :4].float(), "labels": true_boxes[:, 4].long() + 1})
        with _training_mode(model, is_training=True):
            model.backbone.features = {key: feature_map[known] for key, feature_map in features.items()}
            terms = model(pixels[known], truth)
        return torch.stack([term.float() for term in terms.values()]).expand(len(target), -1)


class _AsItIs(nn.Module):
    """Identity transform that replaces torchvision's resizing and normalisation, and its rescaling of boxes."""

    def forward(self, images: Tensor, targets: Any = None) -> tuple[ImageList, Any]:
        return ImageList(images, [(images.shape[2], images.shape[3])] * len(images)), targets

    def postprocess(self, result: Any, sizes: Any, before: Any) -> Any:
        return result


class _Given(nn.Module):
    """Backbone replacement that returns features computed before."""

    def __init__(self) -> None:
        super().__init__()
        self.features: Mapping[str, Tensor] = {}

    def forward(self, images: Tensor) -> Mapping[str, Tensor]:
        features, self.features = self.features, {}
        return features


@contextmanager
def _training_mode(model: Any, *, is_training: bool) -> Iterator[None]:
    """Make a model compute losses or detections, independent of the mode of its layers."""
    parts = [
        module
        for module in (model, *(getattr(model, name, None) for name in ("rpn", "roi_heads")))
        if module is not None
    ]
    before = [part.training for part in parts]
    for part in parts:
        part.training = is_training
    try:
        yield
    finally:
        for part, was in zip(parts, before, strict=True):
            part.training = was


def _detection_rows(outputs: list[dict[str, Tensor]]) -> Tensor:
    """Convert torchvision's detections to rows, shape (n, 100, 6)."""
    tables = []
    for output in outputs:
        columns = [output["boxes"], output["scores"][:, None], output["labels"][:, None] - 1]
        rows = torch.cat([column.float() for column in columns], 1)
        tables.append(rows[rows[:, 4].argsort(descending=True, stable=True)])
    image = torch.cat([torch.full((len(table),), number, device=table.device) for number, table in enumerate(tables)])
    return boxes.padded(torch.cat(tables), image, len(tables))


def fasterrcnn(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    name: Literal[
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
    ],
    pretrained: bool | Literal["form"] = False,
    weights: str | None = None,
    weights_strict: bool = True,
    min_score: Annotated[float, ">= 0", "< 1"] = 0.01,
    nms_iou: Annotated[float, "> 0", "<= 1"] = 0.5,
    freeze: bool | Literal["backbone"] = False,
) -> TorchvisionDetector:
    """Build torchvision's Faster R-CNN (Ren et al. 2015).

    Args:
        heads: The head of the target; set by the program.
        pixels: The format of the images; set by the program.
        name: Name of the network in torchvision.
        pretrained: Whether the backbone starts from torchvision's ImageNet weights, downloaded or from its cache. The first
            layers and all batch statistics of a pretrained backbone stay frozen, and ssdlite's last layers are wider.
            `form`: the same structure with random weights, for weights that are loaded later.
        weights: A weights file of the whole network or of its backbone alone; replaces `pretrained`.
        weights_strict: False: load what fits from that file, however little that is.
        min_score: Detections with a lower score are dropped.
        nms_iou: Of two boxes of a class that overlap by more than this, the one with the lower score is dropped.
        freeze: True or `backbone`: do not train the backbone.

    Raises:
        ConfigError: When the task has no boxes, or images have neither one channel nor three.
        MlpipeError: When a download fails.
        DataError: When a weights file does not fit.
    """
    options = {"box_score_thresh": min_score, "box_nms_thresh": nms_iou, "box_detections_per_img": boxes.MOST}
    return _built(heads, pixels, name, options, pretrained, weights, weights_strict, freeze)


def retinanet(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    name: Literal["retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"],
    pretrained: bool | Literal["form"] = False,
    weights: str | None = None,
    weights_strict: bool = True,
    min_score: Annotated[float, ">= 0", "< 1"] = 0.01,
    nms_iou: Annotated[float, "> 0", "<= 1"] = 0.5,
    freeze: bool | Literal["backbone"] = False,
) -> TorchvisionDetector:
    """Build torchvision's RetinaNet (Lin et al. 2017).

    Args:
        heads: As for `fasterrcnn`.
        pixels: As for `fasterrcnn`.
        name: As for `fasterrcnn`.
        pretrained: As for `fasterrcnn`.
        weights: As for `fasterrcnn`.
        weights_strict: As for `fasterrcnn`.
        min_score: As for `fasterrcnn`.
        nms_iou: As for `fasterrcnn`.
        freeze: As for `fasterrcnn`.

    Raises:
        ConfigError: As for `fasterrcnn`.
        MlpipeError: As for `fasterrcnn`.
        DataError: As for `fasterrcnn`.
    """
    return _built(heads, pixels, name, _thresholds(min_score, nms_iou), pretrained, weights, weights_strict, freeze)


def fcos(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    name: Literal["fcos_resnet50_fpn"],
    pretrained: bool | Literal["form"] = False,
    weights: str | None = None,
    weights_strict: bool = True,
    min_score: Annotated[float, ">= 0", "< 1"] = 0.01,
    nms_iou: Annotated[float, "> 0", "<= 1"] = 0.5,
    freeze: bool | Literal["backbone"] = False,
) -> TorchvisionDetector:
    """Build torchvision's FCOS, a detector without anchors (Tian et al. 2019).

    Args:
        heads: As for `fasterrcnn`.
        pixels: As for `fasterrcnn`.
        name: As for `fasterrcnn`.
        pretrained: As for `fasterrcnn`.
        weights: As for `fasterrcnn`.
        weights_strict: As for `fasterrcnn`.
        min_score: As for `fasterrcnn`.
        nms_iou: As for `fasterrcnn`.
        freeze: As for `fasterrcnn`.

    Raises:
        ConfigError: As for `fasterrcnn`.
        MlpipeError: As for `fasterrcnn`.
        DataError: As for `fasterrcnn`.
    """
    return _built(heads, pixels, name, _thresholds(min_score, nms_iou), pretrained, weights, weights_strict, freeze)


def ssd(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    name: Literal["ssdlite320_mobilenet_v3_large", "ssd300_vgg16"],
    pretrained: bool | Literal["form"] = False,
    weights: str | None = None,
    weights_strict: bool = True,
    min_score: Annotated[float, ">= 0", "< 1"] = 0.01,
    nms_iou: Annotated[float, "> 0", "<= 1"] = 0.5,
    freeze: bool | Literal["backbone"] = False,
) -> TorchvisionDetector:
    """Build one of torchvision's single shot detectors (Liu et al. 2016; Sandler et al. 2018), for images of any size.

    Args:
        heads: As for `fasterrcnn`.
        pixels: As for `fasterrcnn`.
        name: As for `fasterrcnn`.
        pretrained: As for `fasterrcnn`.
        weights: As for `fasterrcnn`.
        weights_strict: As for `fasterrcnn`.
        min_score: As for `fasterrcnn`.
        nms_iou: As for `fasterrcnn`.
        freeze: As for `fasterrcnn`.

    Raises:
        ConfigError: As for `fasterrcnn`.
        MlpipeError: As for `fasterrcnn`.
        DataError: As for `fasterrcnn`.
    """
    network = _built(heads, pixels, name, _thresholds(min_score, nms_iou), pretrained, weights, weights_strict, freeze)
    for module in network.modules():
        if isinstance(module, DefaultBoxGenerator):
            # The default steps are for images of 300 pixels; without steps the cells divide the image evenly.
            module.steps = None
    return network


@contextmanager
def _random_bodies() -> Iterator[None]:
    """Make torchvision build a network in its pretrained form, but with random instead of downloaded backbone weights."""

    def random_state(weights: WeightsEnum, *_: Any, **__: Any) -> Mapping[str, Any]:
        network: nn.Module = models.get_model(type(weights).__name__.removesuffix("_Weights").lower())
        return network.state_dict()

    with _MAKING:
        download = WeightsEnum.get_state_dict
        WeightsEnum.get_state_dict = random_state
        try:
            yield
        finally:
            WeightsEnum.get_state_dict = download


def _thresholds(min_score: float, nms_iou: float) -> dict[str, Any]:
    return {"score_thresh": min_score, "nms_thresh": nms_iou, "detections_per_img": boxes.MOST}


def _built(
    heads: Mapping[str, Head],
    pixels: Pixels,
    name: str,
    options: dict[str, Any],
    pretrained: bool | Literal["form"],
    weights: str | None,
    strict: bool,
    freeze: bool | str,
) -> TorchvisionDetector:
    """Build a torchvision detector for a task."""
    target, head = box_target(heads, name)
    if pixels.channels not in (1, _CHANNELS):
        wrong = f"{name} takes images of one channel or three, the task's have {pixels.channels}"
        raise ConfigError(problem("arch", wrong, fix="use arch=yolo, or task.channels=3"))
    is_downloaded = pretrained is True and weights is None
    body = "DEFAULT" if pretrained and weights is None else None
    try:
        with _random_bodies() if body and not is_downloaded else nullcontext():
            model = detection.__dict__[name](weights=None, weights_backbone=body, num_classes=head.size + 1, **options)
    except Exception as error:
        if not is_downloaded:
            raise
        raise classifier.unavailable(name, error) from error
    if pixels.normalization == "unit":
        model.transform.image_mean, model.transform.image_std = [0.0] * _CHANNELS, [1.0] * _CHANNELS
    network = TorchvisionDetector(model, target, pixels.peak)
    if weights is not None:
        network.begun = initial_weights.load(network, initial_weights.of_file(weights, strict))
    elif is_downloaded:
        network.begun = initial_weights.pretrained_report(network, f"torchvision's weights of the body of {name}")
    adapt.freeze(network, freeze)
    return network
