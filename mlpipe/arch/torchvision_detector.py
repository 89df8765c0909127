"""Torchvision's detectors, normalisation included: pixels in, boxes with scores and classes out."""

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

# The channels of images that its bodies are made for; images of one are repeated.
_CHANNELS = 3
# Held while torchvision is kept from downloading.
_MAKING = threading.Lock()


class TorchvisionDetector(nn.Module):
    """Normalises pixels and finds objects with a detector of torchvision, which computes its loss itself.

    With targets it gives in training the terms of its loss for the batch beside each image, shape (n, terms); in evaluation
    detections, and with targets the terms under the target's name and `RAW` too. Parts that draw at random (the regions that
    a loss looks at) draw alike in each evaluation.

    Args:
        model: The detector, of one class more than the task has, the first being the background; it is changed.
        name: The target.
        peak: The value of white.

    Attributes:
        begun: What stored weights it began with, one sentence; empty for none.
        takes_targets: Whether it takes the targets of images beside them.
        listed: As of `mlpipe.arch.detector.Detector`.
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
        # The body is this module's own; the rest is given what it has computed, once for loss and detections.
        del model.backbone, model.transform
        model.transform, model.backbone = _AsItIs(), _Given()
        self.heads = nn.ModuleDict({name: model})
        self._name = name

    @property
    def image_layers(self) -> nn.Module:
        """As of `mlpipe.arch.detector.Detector`; all maps of the pyramid are made of the coarsest one here."""
        body = self.backbone.body
        assert isinstance(body, nn.Module)
        return body

    def forward(self, images: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """Terms of the loss in training, detections of shape (n, 100, 6) in evaluation.

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
        """The terms of the loss of the images whose boxes are known, beside each image, shape (n, terms)."""
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
    """In place of the step that resizes and normalises images, and of the one that takes boxes back to their sizes."""

    def forward(self, images: Tensor, targets: Any = None) -> tuple[ImageList, Any]:
        return ImageList(images, [(images.shape[2], images.shape[3])] * len(images)), targets

    def postprocess(self, result: Any, sizes: Any, before: Any) -> Any:
        return result


class _Given(nn.Module):
    """In place of a body: features that are computed already."""

    def __init__(self) -> None:
        super().__init__()
        self.features: Mapping[str, Tensor] = {}

    def forward(self, images: Tensor) -> Mapping[str, Tensor]:
        features, self.features = self.features, {}
        return features


@contextmanager
def _training_mode(model: Any, *, is_training: bool) -> Iterator[None]:
    """A model that computes losses, or detections, whatever the mode of its layers is."""
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
    """Torchvision's detections of some images, shape (n, 100, 6)."""
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
    """Faster R-CNN (Ren et al. 2015) of torchvision.

    Args:
        heads: What the target gets; the program gives it.
        pixels: What the images are like; the program gives it.
        name: Torchvision's name.
        pretrained: Whether the body starts from torchvision's ImageNet weights, downloaded or from its cache. Of such a body the
            first layers and all batch statistics do not learn, and ssdlite's is wider at its end. `form`: random weights in
            that form, for weights that follow.
        weights: A file of weights of the whole network, or of its body alone, that replaces `pretrained`.
        weights_strict: False loads what fits of that file, however little that is.
        min_score: Detections with a smaller score are left out.
        nms_iou: Of two boxes of a class that overlap by more, the one with the smaller score is left out.
        freeze: True or `backbone`: the body does not learn.

    Raises:
        ConfigError: When the task has no boxes, or images have neither one channel nor three.
        MlpipeError: When a download fails.
        DataError: When a file of weights does not fit.
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
    """RetinaNet (Lin et al. 2017) of torchvision.

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
    """FCOS, without anchors (Tian et al. 2019), of torchvision.

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
    """Single shot detectors (Liu et al. 2016; Sandler et al. 2018) of torchvision, for images of any size.

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
            # Its steps are those of images of 300 pixels; without them cells divide the image.
            module.steps = None
    return network


@contextmanager
def _random_bodies() -> Iterator[None]:
    """Let torchvision take random weights where it would download those of a body, and make all else as for these."""

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
    """A detector of torchvision for a task."""
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
