"""Encoder-decoders with any timm network as encoder, from pixels to logits or values of every pixel.

Normalisation is part of the network. The decoders are those of segmentation-models-pytorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import timm as timm_library
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.arch import adapt, initial_weights, names, timm_body
from mlpipe.arch.classifier import Head, Pixels, hub, pretrained_name, statistics, unavailable
from mlpipe.arch.initial_weights import Start
from mlpipe.errors import ConfigError, first_line, problem

Freeze = bool | Literal["backbone"]
Outputs = Literal["linear", "sigmoid"]


class Segmenter(nn.Module):
    """A network that normalises pixels, encodes, decodes, and returns the logits of every pixel.

    Images whose sides are not multiples of `multiple` are padded by repeating their edges; the outputs are cropped to the
    size of the images.

    Args:
        backbone: Maps images to features at several resolutions.
        decoder: Maps these to features per pixel.
        head: Maps those to logits at the resolution of the images.
        name: The target.
        multiple: Divisor of the image sides that the encoder requires.
        mean: Mean of each channel that the encoder expects, on the scale of the input pixels.
        std: Standard deviation of each channel, on the same scale.
    """

    def __init__(
        self,
        backbone: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        name: str,
        multiple: int,
        mean: list[float],
        std: list[float],
    ) -> None:
        super().__init__()
        # One sentence about the stored weights that it started from; empty for none.
        self.begun = ""
        self.backbone, self.decoder = backbone, decoder
        self.heads = nn.ModuleDict({name: head})
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.mean: Tensor
        self.std: Tensor
        self._name, self._multiple = name, multiple

    def no_weight_decay(self) -> set[str]:
        """Return the parameters that timm exempts from weight decay; its feature wrapper does not pass them on."""
        return timm_body.undecayed(self)

    @property
    def image_layers(self) -> nn.Module:
        """The part whose layers have spatial outputs, from one of which heat maps are computed."""
        return self.backbone

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits of shape (n, classes, height, width) by target.

        Args:
            images: Shape (n, channels, height, width), 0 to the pixels' peak.
        """
        height, width = images.shape[2:]
        pixels, top, left = self.padded(images.to(self.mean.dtype).sub(self.mean).div_(self.std))
        logits = self.heads[self._name](self.decoder(self.backbone(pixels)))
        return {self._name: logits[:, :, top : top + height, left : left + width]}

    def padded(self, images: Tensor) -> tuple[Tensor, int, int]:
        """Pad images for the encoder; return them and the numbers of rows and columns added at the top and left."""
        height, width = images.shape[2:]
        down, across = -height % self._multiple, -width % self._multiple
        top, left = down // 2, across // 2
        if down or across:
            images = F.pad(images, (left, across - left, top, down - top), mode="replicate")
        return images, top, left


def unet(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    encoder: str,
    name: str,
    pretrained: bool = True,
    weights: str | None = None,
    weights_strict: bool = True,
    in_chans: Annotated[int, ">= 1"] | None = None,
    depth: Annotated[int, ">= 2", "<= 5"] = 5,
    attention: Literal["scse"] | None = None,
    freeze: Freeze = False,
    pretrained_fallback: Literal["random"] | None = None,
    outputs: Outputs = "linear",
) -> Segmenter:
    """Build a U-Net (Ronneberger, Fischer & Brox 2015) on any timm network.

    Args:
        heads: The head of the target; set by the program.
        pixels: The format of the images; set by the program.
        encoder: Name of the encoder in timm.
        name: Name of the network in records.
        pretrained: Whether the encoder starts from timm's pretrained weights, downloaded or from its cache.
        weights: A weights file of the whole network or of the encoder alone; replaces `pretrained`.
        weights_strict: False: load what fits from that file, however little that is.
        in_chans: Number of input channels; None: as many as the images have.
        depth: Number of times that the encoder halves the image.
        attention: `scse`: spatial and channel squeeze and excitation in the decoder (Roy et al. 2018).
        freeze: True or `backbone`: do not train the encoder.
        pretrained_fallback: `random`: continue with random weights when the download fails.
        outputs: For target images: `linear`: unbounded values; `sigmoid`: values between 0 and 1.

    Raises:
        ConfigError: When the encoder or the task cannot be used with this network.
        MlpipeError: When a download fails.
        DataError: When a weights file does not fit.
    """
    import segmentation_models_pytorch as smp  # type: ignore[import-untyped]

    def made(**shared: Any) -> Any:
        channels = (256, 128, 64, 32, 16)[5 - depth :]
        return smp.Unet(encoder_depth=depth, decoder_channels=channels, decoder_attention_type=attention, **shared)

    start = _start(weights, weights_strict)
    return _built(made, heads, pixels, encoder, pretrained, start, in_chans, freeze, pretrained_fallback, outputs)


def fpn(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    encoder: str,
    name: str,
    pretrained: bool = True,
    weights: str | None = None,
    weights_strict: bool = True,
    in_chans: Annotated[int, ">= 1"] | None = None,
    dropout: Annotated[float, ">= 0", "< 1"] = 0.2,
    freeze: Freeze = False,
    pretrained_fallback: Literal["random"] | None = None,
    outputs: Outputs = "linear",
) -> Segmenter:
    """Build a feature pyramid network (Lin et al. 2017; Kirillov et al. 2017 for masks) on any timm network.

    Args:
        heads: As for `unet`.
        pixels: As for `unet`.
        encoder: As for `unet`.
        name: As for `unet`.
        pretrained: As for `unet`.
        weights: As for `unet`.
        weights_strict: As for `unet`.
        in_chans: As for `unet`.
        dropout: Dropout of whole channels in the decoder.
        freeze: As for `unet`.
        pretrained_fallback: As for `unet`.
        outputs: As for `unet`.

    Raises:
        ConfigError: As for `unet`.
        MlpipeError: As for `unet`.
        DataError: As for `unet`.
    """
    import segmentation_models_pytorch as smp

    def made(**shared: Any) -> Any:
        return smp.FPN(decoder_dropout=dropout, **shared)

    start = _start(weights, weights_strict)
    return _built(made, heads, pixels, encoder, pretrained, start, in_chans, freeze, pretrained_fallback, outputs)


def pspnet(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    encoder: str,
    name: str,
    pretrained: bool = True,
    weights: str | None = None,
    weights_strict: bool = True,
    in_chans: Annotated[int, ">= 1"] | None = None,
    dropout: Annotated[float, ">= 0", "< 1"] = 0.2,
    freeze: Freeze = False,
    pretrained_fallback: Literal["random"] | None = None,
    outputs: Outputs = "linear",
) -> Segmenter:
    """Build a pyramid scene parsing network (Zhao et al. 2017) on the first three stages of any timm network.

    Args:
        heads: As for `unet`.
        pixels: As for `unet`.
        encoder: As for `unet`.
        name: As for `unet`.
        pretrained: As for `unet`.
        weights: As for `unet`.
        weights_strict: As for `unet`.
        in_chans: As for `unet`.
        dropout: Dropout of whole channels in the decoder.
        freeze: As for `unet`.
        pretrained_fallback: As for `unet`.
        outputs: As for `unet`.

    Raises:
        ConfigError: As for `unet`.
        MlpipeError: As for `unet`.
        DataError: As for `unet`.
    """
    import segmentation_models_pytorch as smp

    def made(**shared: Any) -> Any:
        return smp.PSPNet(psp_dropout=dropout, **shared)

    start = _start(weights, weights_strict)
    return _built(made, heads, pixels, encoder, pretrained, start, in_chans, freeze, pretrained_fallback, outputs)


def linknet(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    encoder: str,
    name: str,
    pretrained: bool = True,
    weights: str | None = None,
    weights_strict: bool = True,
    in_chans: Annotated[int, ">= 1"] | None = None,
    freeze: Freeze = False,
    pretrained_fallback: Literal["random"] | None = None,
    outputs: Outputs = "linear",
) -> Segmenter:
    """Build a LinkNet (Chaurasia & Culurciello 2017) on any timm network that downsamples from its first stage on.

    Args:
        heads: As for `unet`.
        pixels: As for `unet`.
        encoder: As for `unet`.
        name: As for `unet`.
        pretrained: As for `unet`.
        weights: As for `unet`.
        weights_strict: As for `unet`.
        in_chans: As for `unet`.
        freeze: As for `unet`.
        pretrained_fallback: As for `unet`.
        outputs: As for `unet`.

    Raises:
        ConfigError: As for `unet`.
        MlpipeError: As for `unet`.
        DataError: As for `unet`.
    """
    import segmentation_models_pytorch as smp

    def made(**shared: Any) -> Any:
        return smp.Linknet(**shared)

    start = _start(weights, weights_strict)
    return _built(made, heads, pixels, encoder, pretrained, start, in_chans, freeze, pretrained_fallback, outputs)


def _start(weights: str | None, strict: bool) -> Start | None:
    return None if weights is None else initial_weights.of_file(weights, strict)


def _built(
    builder: Callable[..., Any],
    heads: Mapping[str, Head],
    pixels: Pixels,
    encoder: str,
    pretrained: bool,
    start: Start | None,
    in_chans: int | None,
    freeze: Freeze,
    fallback: str | None,
    outputs: Outputs,
) -> Segmenter:
    """Build a network with one of the decoders."""
    if len(heads) > 1:
        raise ConfigError(problem("mode.multitask", "masks and images are learned alone", fix="leave it out"))
    ((target, head),) = heads.items()
    if not head.per_pixel:
        fix = "use arch=resnet18 or another network of timm, or a task with masks (task=masks) or images"
        raise ConfigError(problem("arch", "gives an answer for every pixel, the task wants one for an image", fix=fix))
    if outputs != "linear" and not head.of_values:
        fix = "leave it out, losses of masks take logits"
        raise ConfigError(problem("arch.outputs", "is for target images", got=outputs, fix=fix))
    channels = in_chans or pixels.channels
    names.check("arch.encoder", encoder)
    options = {"encoder_name": f"tu-{encoder}", "in_channels": channels, "classes": head.size}
    network, is_random = _created(builder, encoder, options, pretrained and start is None, fallback)
    settings = timm_library.get_pretrained_cfg(encoder, allow_unregistered=True)
    mean, std = statistics({} if settings is None else dict(vars(settings)), channels, pixels)
    multiple = int(network.encoder.output_stride) if network.requires_divisible_input_shape else 1
    last = network.segmentation_head
    last = nn.Sequential(last, nn.Sigmoid()) if outputs == "sigmoid" else last
    whole = Segmenter(network.encoder, network.decoder, last, target, multiple, mean, std)
    if start is not None:
        whole.begun = initial_weights.load(whole, start)
    elif not is_random:
        whole.begun = initial_weights.pretrained_report(whole, pretrained_name(network.encoder.model.pretrained_cfg))
    adapt.freeze(whole, freeze)
    return whole


def _created(
    builder: Callable[..., Any], encoder: str, options: dict[str, Any], pretrained: bool, fallback: str | None
) -> tuple[Any, bool]:
    """Return the network and whether its weights are random."""
    if pretrained:
        try:
            with hub():
                return builder(encoder_weights="imagenet", **options), False
        except Exception as error:
            if fallback != "random":
                raise unavailable(encoder, error) from error
    try:
        return builder(encoder_weights=None, **options), True
    except (RuntimeError, ValueError, AssertionError, TypeError, KeyError, AttributeError, IndexError) as error:
        reason = first_line(error)
        fix = "use an encoder with features at several resolutions, such as resnet34, or another arch"
        raise ConfigError(problem("arch.encoder", f"cannot be used here ({reason})", got=encoder, fix=fix)) from error
