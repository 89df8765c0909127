"""Networks that draw images: a generator, the critic that it learns from, and features by which images are compared."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

# Parts of 64 bits, as signed numbers: the constants of SplitMix64 (Steele, Lea & Flood 2014).
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
# So many images are drawn at a time, however many are asked for: another size of batch may round otherwise.
DRAWN_AT_ONCE = 64
_LARGEST = 512


class Gan(nn.Module):
    """A generator and its critic. In training a batch gives what the turn is taught by, else what drawn images are judged by.

    Args:
        generator: Noise (n, noise) to images (n, channels, *spatial).
        critic: Images to one score each, (n, 1); more for real ones.
        features: Pixels as they are given, to what images are compared by, (n, features). It does not learn.
        noise: How many numbers an image is drawn from.
        shape: Channels and spatial shape of an image.
        peak: The value of white.
        signed: Whether generator and critic see values of -1 to 1 in place of 0 to 1.
        target: The name of what the network gives.

    Attributes:
        begun: What stored weights it began with, one sentence; empty for none.
        generators_turn: Whether the generator learns from the batch, and not the critic.
        penalized: Whether the critic's gradient is looked at in its turn.
        bound: What bounds the critic's weights; None: nothing.
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
        """Training mode; the features keep their statistics."""
        super().train(mode)
        self.features.eval()
        return self

    def begin(self, *, generators_turn: bool, penalized: bool, bound: float | None) -> None:
        """Begin a step of one of the two.

        Args:
            generators_turn: As the attribute.
            penalized: As the attribute.
            bound: As the attribute; the weights are bounded now.
        """
        self.generators_turn, self.penalized, self.bound = generators_turn, penalized, bound
        self._bound_weights()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """What a batch of real images is for.

        Args:
            images: Shape (n, channels, *spatial), pixels as they are cached.

        Returns:
            In training (n, 3): the critic's scores of the real and of as many drawn images, and the squared distance of its
            gradient's norm from 1 between them; what the turn does not need is 0. Else (n, 2 + 2 * features): both scores,
            then the features of each real image, then those of a drawn one, whose noise is drawn from the real image itself:
            the same in any batch and any process.
        """
        return {self._target: self._training_outputs(images) if self.training else self._evaluation_outputs(images)}

    def draw(self, seeds: Tensor) -> Tensor:
        """Images for seeds, in evaluation mode.

        Args:
            seeds: Whole numbers of 64 bits, shape (n,), see `seeds_of`.

        Returns:
            Pixels on the scale of the task's, shape (n, channels, *spatial), float32.
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
        """What the generator gives, on the scale of the task's pixels; within it where they are bytes."""
        values = (drawn + 1) / 2 if self._signed else drawn
        return (values.clamp(0, 1) if self.peak > 1 else values) * self.peak

    def seen(self, images: Tensor) -> Tensor:
        """Pixels as generator and critic see them."""
        values = images.float() / self.peak
        return values * 2 - 1 if self._signed else values

    def _training_outputs(self, images: Tensor) -> Tensor:
        real = self.seen(images)
        noise = torch.randn(len(real), self.noise, device=real.device)
        if self.generators_turn:
            # The critic's weights get no gradient, so that an optimizer of both leaves them as they are.
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
        """The squared distance of the gradient's norm from 1, at a random point between each pair (Gulrajani et al. 2017)."""
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
    """Let a module's weights get no gradient from what is computed within."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def as_buffers(module: nn.Module) -> None:
    """Make the weights of a module ones that are stored with it and never learn, whatever an optimizer is given."""
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, weight.detach())


def mixed(numbers: Tensor) -> Tensor:
    """Whole numbers of 64 bits, each as a random one: the finalizer of SplitMix64."""
    numbers = (numbers ^ _shifted(numbers, 30)) * _FIRST
    numbers = (numbers ^ _shifted(numbers, 27)) * _SECOND
    return numbers ^ _shifted(numbers, 31)


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    """To the right without the sign."""
    moved: Tensor = (numbers >> bits) & (2 ** (64 - bits) - 1)
    return moved


def seeds_of(seed: int, count: int) -> Tensor:
    """The seeds of the first images of a seed, shape (count,): the first ones are the same however many there are."""
    return mixed(torch.arange(count) * _STEP + mixed(torch.tensor(seed)))


def seeds_of_images(images: Tensor) -> Tensor:
    """A seed for each image from its pixels alone, shape (n,); `images` has the shape (n, ...)."""
    bits = images.float().contiguous().flatten(1).view(torch.int32).long()
    places = torch.arange(bits.shape[1], device=bits.device)
    return mixed(mixed(bits + places * _STEP).sum(1))


def normal(seeds: Tensor, size: int) -> Tensor:
    """Normally distributed numbers of seeds, by the method of Box & Muller (1958) from bits that are counted, not drawn.

    Args:
        seeds: Whole numbers, shape (n,).
        size: How many numbers of each.

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
    """Noise to images: a small map that is doubled until it covers the image, with convolutions and batch normalisation.

    It is the generator of DCGAN (Radford et al. 2016) with nearest neighbours and a convolution in place of transposed ones,
    which leave no checkerboards (Odena et al. 2016).

    Args:
        noise: Numbers of the noise.
        shape: Channels, height and width.
        width: Channels of maps of half the images' size; those of the images' have half as many.
        signed: Whether values are -1 to 1 in place of 0 to 1.
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
        """Images of shape (n, channels, height, width) for noise of shape (n, noise)."""
        maps = functional.relu(self.norm(self.first(noise).view(-1, *self._start)))
        drawn: Tensor = self.end(self.last(self.blocks(maps)))
        # Sides that are no multiples of what is doubled are cut on both ends alike.
        tops = [(length - side) // 2 for length, side in zip(drawn.shape[2:], self._sides, strict=True)]
        cut = drawn[:, :, tops[0] : tops[0] + self._sides[0], tops[1] : tops[1] + self._sides[1]]
        return cut


class ConvCritic(nn.Module):
    """Images to a score each, by convolutions that halve them; without batch normalisation, as each image counts for itself.

    Args:
        shape: Channels, height and width.
        width: Channels of maps of half the images' size.
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
        """Scores of shape (n, 1) for images of shape (n, channels, height, width)."""
        scores: Tensor = self.score(self.body(images))
        return scores


def doublings(sides: list[int]) -> int:
    """How often the smallest map of images of these sides is doubled: to 4 to 7 pixels on the shorter side."""
    return max(0, int(math.log2(min(sides) / 4))) if min(sides) >= 4 else 0


def _channel_count(width: int, level: int) -> int:
    """Channels of maps that were halved once more than `level` times; -1: of the images' own size."""
    return max(1, width // 2) if level < 0 else max(width, min(_LARGEST, width * 2**level))


class ClassFeatures(nn.Module):
    """Features of a small classifier, in which images of one class are alike: 64 numbers of an image of 32 pixels or less.

    Args:
        channels: Of images.
        classes: How many classes it learns to tell apart.
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
        """Features of shape (n, 64)."""
        maps: Tensor = self.body(_shrunk_images(images, 32) / self._peak)
        return maps.mean((2, 3))

    def logits(self, images: Tensor) -> Tensor:
        """Logits of the classes, shape (n, classes)."""
        logits: Tensor = self.head(self(images))
        return logits


class PixelFeatures(nn.Module):
    """Means of pixels as features, at most 8 on a side, 0 to 1: for images of which no classes are known.

    Args:
        peak: The value of white.
    """

    def __init__(self, peak: float) -> None:
        super().__init__()
        self._peak = peak

    def forward(self, images: Tensor) -> Tensor:
        """Features of shape (n, channels * places)."""
        return _shrunk_images(images, 8).flatten(1) / self._peak


def _shrunk_images(images: Tensor, most: int) -> Tensor:
    """Images of so many pixels on a side at most, by means."""
    if images.ndim != 4 or max(images.shape[2:]) <= most:
        return images
    height, width = (min(most, side) for side in images.shape[2:])
    return functional.adaptive_avg_pool2d(images, (height, width))
