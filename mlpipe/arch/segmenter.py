"""Encoder-decoders with any timm network as encoder, normalisation included: pixels in, logits or values of every pixel out.

The decoders are those of segmentation-models-pytorch.
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
    """Normalises pixels, encodes, decodes, and gives the logits of every pixel.

    Images whose sides the encoder cannot halve often enough are padded by repeating their edges; the outputs have the
    size of the images all the same.

    Args:
        backbone: Images to features at several resolutions.
        decoder: These to features of pixels.
        head: Those to logits, at the images' resolution.
        name: The target.
        multiple: What the sides of images must be a multiple of.
        mean: The mean of each channel that the encoder was made for, as pixels are given.
        std: The standard deviation alike.
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
        # What stored weights it began with, one sentence; empty for none.
        self.begun = ""
        self.backbone, self.decoder = backbone, decoder
        self.heads = nn.ModuleDict({name: head})
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.mean: Tensor
        self.std: Tensor
        self._name, self._multiple = name, multiple

    def no_weight_decay(self) -> set[str]:
        """The parameters that the encoder's network says should not decay; what gives its features does not say."""
        return timm_body.undecayed(self)

    @property
    def image_layers(self) -> nn.Module:
        """The part whose layers lie on the image, one of which a heat map is made of."""
        return self.backbone

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of shape (n, classes, height, width) by target.

        Args:
            images: Shape (n, channels, height, width), 0 to the pixels' peak.
        """
        height, width = images.shape[2:]
        pixels, top, left = self.padded(images.to(self.mean.dtype).sub(self.mean).div_(self.std))
        logits = self.heads[self._name](self.decoder(self.backbone(pixels)))
        return {self._name: logits[:, :, top : top + height, left : left + width]}

    def padded(self, images: Tensor) -> tuple[Tensor, int, int]:
        """Images with the edges that the encoder needs, and how many rows and columns of them lie before an image."""
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
    """U-Net (Ronneberger, Fischer & Brox 2015) on any timm network.

    Args:
        heads: What the target gets; the program gives it.
        pixels: What the images are like; the program gives it.
        encoder: timm's name.
        name: What records call the network.
        pretrained: Whether the encoder starts from timm's weights, downloaded or from its cache.
        weights: A file of weights of the whole network, or of the encoder alone, that replaces `pretrained`.
        weights_strict: False loads what fits of that file, however little that is.
        in_chans: Channels of the network; None: as the images.
        depth: How often the encoder halves the image.
        attention: `scse`: squeeze and excitation of channels and places in the decoder (Roy et al. 2018).
        freeze: True or `backbone`: the encoder does not learn.
        pretrained_fallback: `random` goes on with random weights when a download fails.
        outputs: For target images: values as they are, or after a `sigmoid`, which keeps them between 0 and 1.

    Raises:
        ConfigError: When the encoder cannot be used so, or several tasks are learned together.
        MlpipeError: When a download fails.
        DataError: When a file of weights does not fit.
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
    """Feature pyramid network (Lin et al. 2017; Kirillov et al. 2017 for masks) on any timm network.

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
    """Pyramid scene parsing network (Zhao et al. 2017) on the first three stages of any timm network.

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
    """LinkNet (Chaurasia & Culurciello 2017) on any timm network with halvings from the first stage on.

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
    """The network of one of the decoders."""
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
    """The network, and whether its weights are random."""
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
