"""NASNet-A (4 @ 1056), NASNetMobile in Keras, built from timm's NASNet cells, without pretrained weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from timm.layers.conv_bn_act import ConvNormAct
from timm.models import nasnet
from torch import Tensor, nn

from mlpipe.arch import adapt, initial_weights
from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.errors import ConfigError, problem

_STEM, _FEATURES, _CELLS = 32, 1056, 4


class NASNetMobile(nn.Module):
    """The mobile network of Zoph et al. 2018, from images to features of shape (n, 1056).

    It differs from timm's NASNetALarge in its width, in having four cells between reductions, and in the second input of
    the first cell after a reduction: the cell directly before the reduction, not the one before that.

    Args:
        channels: Channels of the images.
        pool: Pooling of the feature maps, avg or max.
        drop_rate: Dropout rate of the features.
    """

    def __init__(self, channels: int, pool: str = "avg", drop_rate: float = 0.0) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.1)
        self.conv0 = ConvNormAct(channels, _STEM, kernel_size=3, padding=0, stride=2, norm_layer=norm, apply_act=False)
        width = _FEATURES // 24
        same: dict[str, Any] = {"pad_type": "same"}
        self.cell_stem_0 = nasnet.CellStem0(_STEM, num_channels=width // 4, **same)
        self.cell_stem_1 = nasnet.CellStem1(_STEM, num_channels=width // 2, **same)
        self.block_0 = _block(width, before=width, given=2 * width)
        self.reduction_0 = nasnet.ReductionCell0(6 * width, 2 * width, 6 * width, 2 * width, **same)
        self.block_1 = _block(2 * width, before=6 * width, given=8 * width)
        self.reduction_1 = nasnet.ReductionCell1(12 * width, 4 * width, 12 * width, 4 * width, **same)
        self.block_2 = _block(4 * width, before=12 * width, given=16 * width)
        self.act, self.dropout = nn.ReLU(), nn.Dropout(drop_rate)
        self.pool = SelectAdaptivePool2d(pool_type=f"fast{pool}", flatten=True)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of normalised images."""
        stem = self.conv0(images)
        before = self.cell_stem_0(stem)
        current = self.cell_stem_1(stem, before)
        before, current = _block_outputs(self.block_0, before, current)
        before, current = current, self.reduction_0(current, before)
        before, current = _block_outputs(self.block_1, before, current)
        before, current = current, self.reduction_1(current, before)
        maps = self.act(_block_outputs(self.block_2, before, current)[1])
        features: Tensor = self.dropout(self.pool(maps))
        return features


def mobile(
    heads: Mapping[str, Head],
    pixels: Pixels,
    *,
    name: str = "nasnetmobile",
    pretrained: bool = False,
    weights: str | None = None,
    weights_strict: bool = True,
    in_chans: Annotated[int, ">= 1"] | None = None,
    pool: Literal["avg", "max"] = "avg",
    drop_rate: Annotated[float, ">= 0", "< 1"] = 0.0,
    freeze: bool | Literal["backbone"] = False,
) -> Classifier:
    """Build NASNet-A (4 @ 1056) of Zoph et al. 2018 with new heads.

    Without heads it has 4,269,716 parameters and batch statistics, as in Keras.

    Args:
        heads: The head of each target; set by the program.
        pixels: The format of the images; set by the program.
        name: Name of the network in records.
        pretrained: Must be false: timm has no weights for this network.
        weights: A weights file of the whole network.
        weights_strict: False: load what fits from that file, however little that is.
        in_chans: Number of input channels; None: as many as the images have.
        pool: Pooling of the feature maps.
        drop_rate: Dropout rate before the head.
        freeze: True or `backbone`: train the heads only.

    Raises:
        ConfigError: When pretrained weights are requested.
        DataError: When a weights file does not fit.
    """
    if pretrained:
        fix = "use arch.pretrained=false, or arch=nasnetalarge"
        raise ConfigError(problem("arch.pretrained", "there are no weights of NASNetMobile", fix=fix))
    channels = in_chans or pixels.channels
    body = NASNetMobile(channels, pool, drop_rate)
    # Pixels from -1 to 1, as Keras prepares them for this network.
    shift = 0.0 if pixels.normalization == "unit" else pixels.peak / 2
    scale = pixels.peak if pixels.normalization == "unit" else pixels.peak / 2
    network = Classifier(body, _FEATURES, heads, [shift] * channels, [scale] * channels)
    network.drop_rate = drop_rate
    if weights is not None:
        network.begun = initial_weights.load(network, initial_weights.of_file(weights, weights_strict, most_missing=0))
    adapt.freeze(network, freeze)
    return network


def _block(width: int, *, before: int, given: int) -> nn.ModuleList:
    """Return four cells of one width for two inputs with `before` and `given` channels."""
    same: dict[str, Any] = {"pad_type": "same"}
    cells: list[nn.Module] = [nasnet.FirstCell(before, width // 2, given, width, **same)]
    left, right = given, 6 * width
    for _ in range(_CELLS - 1):
        cells.append(nasnet.NormalCell(left, width, right, width, **same))
        left, right = right, 6 * width
    return nn.ModuleList(cells)


def _block_outputs(block: nn.ModuleList, before: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs of a block's last two cells."""
    for cell in block:
        before, value = value, cell(value, before)
    return before, value
