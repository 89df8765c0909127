"""Generative adversarial networks: a generator, its critic, and features for the comparison of images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

# The constants of SplitMix64 (Steele, Lea & Flood 2014) as signed 64-bit integers.
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
# Fixed batch size for drawing images, because another batch size may round differently.
DRAWN_AT_ONCE = 64
_LARGEST = 512


class Gan(nn.Module):
    """A generator and its critic, with outputs for the loss in training and for metrics in evaluation.

    Args:
        generator: Maps noise (n, noise) to images (n, channels, *spatial).
        critic: Maps images to one score each, (n, 1); higher for real ones.
        features: Maps unscaled pixels to features (n, features) for the comparison of images. It is not trained.
        noise: Number of noise values per image.
        shape: Channels and spatial shape of an image.
        peak: The value of white.
        signed: Whether generator and critic use values from -1 to 1 instead of 0 to 1.
        target: Name of the network's output.

    Attributes:
        begun: One sentence about the stored weights that it started from; empty for none.
        generators_turn: Whether the current step trains the generator instead of the critic.
        penalized: Whether the critic's steps compute the gradient penalty.
        bound: Bound of the critic's weights; None: no bound.
        shape: As the argument.
        peak: As the argument.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        features: nn.Module,
        noise: int,
        shape: tuple[int, ...],
        peak: float,
        *,
        signed: bool,
        target: str,
    ) -> None:
        super().__init__()
        self.generator, self.critic, self.features = generator, critic, features
        as_buffers(features)
        self.noise, self.shape, self.peak, self._signed, self._target = noise, shape, peak, signed, target
        self.begun = ""
        self.generators_turn, self.penalized = False, False
        self.bound: float | None = None

    def train(self, mode: bool = True) -> Gan:
        """Set training mode, except for the features, which keep their statistics."""
        super().train(mode)
        self.features.eval()
        return self

    def begin(self, *, generators_turn: bool, penalized: bool, bound: float | None) -> None:
        """Begin a training step of the generator or the critic.

        Args:
            generators_turn: As the attribute.
            penalized: As the attribute.
            bound: As the attribute; the weights are clipped immediately.
        """
        self.generators_turn, self.penalized, self.bound = generators_turn, penalized, bound
        self._bound_weights()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the outputs for a batch of real images and as many drawn ones.

        Args:
            images: Shape (n, channels, *spatial), pixels as they are cached.

        Returns:
            In training (n, 3): the critic's scores of the real and the drawn images, and the gradient penalty between them,
            (norm - 1)^2; columns that the step does not need are 0. In evaluation (n, 2 + 2 * features): both scores, the
            features of each real image, and those of a drawn one, whose noise is derived from the pixels of the real image,
            so that it is the same in any batch and any process.
        """
        return {self._target: self._training_outputs(images) if self.training else self._evaluation_outputs(images)}

    def draw(self, seeds: Tensor) -> Tensor:
        """Draw one image per seed, in evaluation mode.

        Args:
            seeds: 64-bit integers, shape (n,), see `seeds_of`.

        Returns:
            Pixels on the task's scale, shape (n, channels, *spatial), float32.
        """
        was_training = self.training
        self.eval()
        with torch.no_grad():
            parts = [
                self.pixels(self.generator(normal(batch, self.noise))) for batch in torch.split(seeds, DRAWN_AT_ONCE)
            ]
        self.train(was_training)
        return torch.cat(parts).float()

    def pixels(self, drawn: Tensor) -> Tensor:
        """Convert the generator's output to the scale of the task's pixels, clipped to it for integer pixels."""
        values = (drawn + 1) / 2 if self._signed else drawn
        return (values.clamp(0, 1) if self.peak > 1 else values) * self.peak

    def seen(self, images: Tensor) -> Tensor:
        """Convert pixels to the scale that generator and critic use."""
        values = images.float() / self.peak
        return values * 2 - 1 if self._signed else values

    def _training_outputs(self, images: Tensor) -> Tensor:
        real = self.seen(images)
        noise = torch.randn(len(real), self.noise, device=real.device)
        if self.generators_turn:
            # The critic's weights get no gradient, so that a joint optimizer leaves them unchanged.
            with _without_gradients(self.critic):
                score = self.critic(self.generator(noise))
            return torch.cat([torch.zeros_like(score), score, torch.zeros_like(score)], 1)
        with torch.no_grad():
            drawn = self.generator(noise)
        scores, penalty = [self.critic(real), self.critic(drawn)], torch.zeros(len(real), 1, device=real.device)
        if self.penalized and torch.is_grad_enabled():
            penalty = self._penalty(real, drawn)
        return torch.cat([*scores, penalty], 1)

    def _penalty(self, real: Tensor, drawn: Tensor) -> Tensor:
        """Return the gradient penalty, (norm - 1)^2, at a random point between each pair (Gulrajani et al. 2017)."""
        share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
        between = (share * real + (1 - share) * drawn).requires_grad_()
        (gradient,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        return torch.square(gradient.flatten(1).norm(2, dim=1, keepdim=True) - 1)

    def _evaluation_outputs(self, images: Tensor) -> Tensor:
        self._bound_weights()
        drawn = self.generator(normal(seeds_of_images(images), self.noise))
        parts = [self.critic(self.seen(images)), self.critic(drawn)]
        return torch.cat([*parts, self.features(images.float()), self.features(self.pixels(drawn))], 1)

    def _bound_weights(self) -> None:
        if self.bound is not None:
            with torch.no_grad():
                for weight in self.critic.parameters():
                    weight.clamp_(-self.bound, self.bound)


@contextmanager
def _without_gradients(module: nn.Module) -> Iterator[None]:
    """Disable the gradients of a module's weights within the context."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def as_buffers(module: nn.Module) -> None:
    """Turn the parameters of a module into buffers, which are saved but never trained."""
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, weight.detach())


def mixed(numbers: Tensor) -> Tensor:
    """Hash 64-bit integers with the finalizer of SplitMix64."""
    numbers = (numbers ^ _shifted(numbers, 30)) * _FIRST
    numbers = (numbers ^ _shifted(numbers, 27)) * _SECOND
    return numbers ^ _shifted(numbers, 31)


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    """Shift to the right without sign extension."""
    moved: Tensor = (numbers >> bits) & (2 ** (64 - bits) - 1)
    return moved


def seeds_of(seed: int, count: int) -> Tensor:
    """Return the image seeds of a seed, shape (count,); a larger `count` only appends seeds."""
    return mixed(torch.arange(count) * _STEP + mixed(torch.tensor(seed)))


def seeds_of_images(images: Tensor) -> Tensor:
    """Return one seed per image, computed from its pixels, shape (n,); `images` has the shape (n, ...)."""
    bits = images.float().contiguous().flatten(1).view(torch.int32).long()
    places = torch.arange(bits.shape[1], device=bits.device)
    return mixed(mixed(bits + places * _STEP).sum(1))


def normal(seeds: Tensor, size: int) -> Tensor:
    """Return normally distributed numbers for seeds, by the Box-Muller transform (1958) of counter-based random bits.

    Args:
        seeds: Integers, shape (n,).
        size: Numbers per seed.

    Returns:
        Shape (n, size), float32, on the seeds' device.
    """
    half = -(-size // 2)
    bits = mixed(seeds[:, None] + torch.arange(1, 2 * half + 1, device=seeds.device) * _STEP)
    uniform = _shifted(bits, 11).double() * 2.0**-53 + 2.0**-54
    radius, angle = (-2 * uniform[:, :half].log()).sqrt(), 2 * math.pi * uniform[:, half:]
    numbers = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
    return numbers[:, :size].float()


class ConvGenerator(nn.Module):
    """A convolutional generator: upsamples a small map by factors of two until it covers the image.

    This is the generator of DCGAN (Radford et al. 2016) with nearest-neighbour upsampling and convolutions in place of
    transposed convolutions, which avoids checkerboard artefacts (Odena et al. 2016).

    Args:
        noise: Number of noise values.
        shape: Channels, height and width.
        width: Channels of maps of half the image size; maps of the full size have half as many.
        signed: Whether values are from -1 to 1 instead of 0 to 1.
    """

    def __init__(self, noise: int, shape: tuple[int, ...], width: int, *, signed: bool) -> None:
        super().__init__()
        channels, *self._sides = shape
        times = doublings(self._sides)
        self._start = (_channel_count(width, times - 1), *(-(-side // 2**times) for side in self._sides))
        self.first = nn.Linear(noise, math.prod(self._start), bias=False)
        self.norm = nn.BatchNorm2d(self._start[0])
        blocks = list[nn.Module]()
        for level in range(times, 0, -1):
            channels_in, channels_out = _channel_count(width, level - 1), _channel_count(width, level - 2)
            blocks += [nn.Upsample(scale_factor=2), nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)]
            blocks += [nn.BatchNorm2d(channels_out), nn.ReLU()]
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Conv2d(_channel_count(width, -1), channels, 3, padding=1)
        self.end = nn.Tanh() if signed else nn.Sigmoid()

    def forward(self, noise: Tensor) -> Tensor:
        """Return images of shape (n, channels, height, width) for noise of shape (n, noise)."""
        maps = functional.relu(self.norm(self.first(noise).view(-1, *self._start)))
        drawn: Tensor = self.end(self.last(self.blocks(maps)))
        # The map is cropped at its centre if the sides are no multiples of the upsampling factor.
        tops = [(length - side) // 2 for length, side in zip(drawn.shape[2:], self._sides, strict=True)]
        cut = drawn[:, :, tops[0] : tops[0] + self._sides[0], tops[1] : tops[1] + self._sides[1]]
        return cut


class ConvCritic(nn.Module):
    """A critic of strided convolutions with one score per image; no batch normalisation, so that images stay independent.

    Args:
        shape: Channels, height and width.
        width: Channels of maps of half the image size.
    """

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        channels, *sides = shape
        times, layers = doublings(sides), list[nn.Module]()
        for level in range(times):
            channels_in = channels if level == 0 else _channel_count(width, level - 1)
            layers += [nn.Conv2d(channels_in, _channel_count(width, level), 4, 2, 1), nn.LeakyReLU(0.2)]
        if not times:
            layers = [nn.Conv2d(channels, _channel_count(width, -1), 3, padding=1), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.score = nn.Linear(_channel_count(width, times - 1) * math.prod(side // 2**times for side in sides), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return scores of shape (n, 1) for images of shape (n, channels, height, width)."""
        scores: Tensor = self.score(self.body(images))
        return scores


def doublings(sides: list[int]) -> int:
    """Return the number of doublings from a map with 4 to 7 pixels on the shorter side to an image of these sides."""
    return max(0, int(math.log2(min(sides) / 4))) if min(sides) >= 4 else 0


def _channel_count(width: int, level: int) -> int:
    """Return the channels of maps halved `level` + 1 times; -1 is the size of the images."""
    return max(1, width // 2) if level < 0 else max(width, min(_LARGEST, width * 2**level))


class ClassFeatures(nn.Module):
    """The 64 features of a small classifier, computed from images shrunk to at most 32 pixels a side.

    Args:
        channels: Channels of the images.
        classes: Number of classes that the classifier distinguishes.
        peak: The value of white.
    """

    def __init__(self, channels: int, classes: int, peak: float) -> None:
        super().__init__()
        self._peak = peak
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return features of shape (n, 64)."""
        maps: Tensor = self.body(_shrunk_images(images, 32) / self._peak)
        return maps.mean((2, 3))

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of the classes, shape (n, classes)."""
        logits: Tensor = self.head(self(images))
        return logits


class PixelFeatures(nn.Module):
    """Pixels from 0 to 1, averaged to at most 8 a side, as features of images without classes.

    Args:
        peak: The value of white.
    """

    def __init__(self, peak: float) -> None:
        super().__init__()
        self._peak = peak

    def forward(self, images: Tensor) -> Tensor:
        """Return features of shape (n, channels * places)."""
        return _shrunk_images(images, 8).flatten(1) / self._peak


def _shrunk_images(images: Tensor, most: int) -> Tensor:
    """Shrink images to at most `most` pixels a side by averaging."""
    if images.ndim != 4 or max(images.shape[2:]) <= most:
        return images
    height, width = (min(most, side) for side in images.shape[2:])
    return functional.adaptive_avg_pool2d(images, (height, width))
