"""The loss of a critic and a generator trained in turns: the distance of drawn images to real ones (Wasserstein GAN)."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mlpipe.arch.gan import Gan
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses.labels import Labels


class Adversarial(nn.Module):
    """A loss by which two parts of a network learn against each other in alternating optimizer steps.

    A function of `conf/loss` that builds one is annotated to return it, which tells that the run draws images, whatever the
    task's targets are. Both parts share one optimizer: the part whose turn it is not has no gradients, so its weights and
    optimizer state do not change, just as with an optimizer of its own.
    """

    def before_step(self, network: nn.Module, step: int) -> None:
        """Tell the network whose turn it is.

        Args:
            network: A `mlpipe.arch.gan.Gan`.
            step: The number of the optimizer step, from 0.
        """
        raise NotImplementedError

    def of_epoch(self) -> dict[str, float]:
        """Return values averaged over the steps since the last call, by name, for the training history."""
        raise NotImplementedError


class Wasserstein(Adversarial):
    """For the critic the mean score of drawn images minus that of real ones, for the generator minus the score of drawn ones.

    Args:
        critic_steps: Steps of the critic before each step of the generator.
        penalty: The weight of the gradient penalty; 0: none.
        clip: The bound on the critic's weights; None: none.
    """

    def __init__(self, critic_steps: int, penalty: float, clip: float | None) -> None:
        super().__init__()
        self._critic_steps, self._penalty, self._clip = critic_steps, penalty, clip
        self._generators_turn = False
        self._sums: list[Tensor] = []

    def before_step(self, network: nn.Module, step: int) -> None:
        """Tell the network whose turn it is: the generator's after `critic_steps` steps of the critic."""
        assert isinstance(network, Gan)
        self._generators_turn = step % (self._critic_steps + 1) == self._critic_steps
        network.begin(generators_turn=self._generators_turn, penalized=self._penalty > 0, bound=self._clip)

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the part whose turn it is.

        Args:
            outputs: The network's outputs in training, shape (n, 3).
            target: Not used: the network learns from the images themselves.
        """
        real, drawn, steepness = outputs.mean(0)
        loss: Tensor = -drawn if self._generators_turn else drawn - real + self._penalty * steepness
        if self._generators_turn:
            return loss
        self._sums.append(torch.stack([real - drawn, steepness, torch.ones_like(real)]).detach())
        return loss

    def of_epoch(self) -> dict[str, float]:
        """Return the critic's loss, its gap (real minus drawn; larger means better separation), and the penalty."""
        if not self._sums:
            return {}
        gap, steepness, count = torch.stack(self._sums).double().sum(0).tolist()
        self._sums = []
        gap, steepness = gap / count, steepness / count
        values = {"loss": self._penalty * steepness - gap, "critic_gap": gap}
        return values | ({"penalty": steepness} if self._penalty else {})


def wasserstein(
    labels: Labels,
    *,
    critic_steps: Annotated[int, ">= 1"] = 5,
    penalty: Annotated[float, ">= 0"] = 10.0,
    clip: Annotated[float, "> 0"] | None = None,
) -> Adversarial:
    """The Wasserstein distance of drawn to real images, by a critic with a gradient penalty or bounded weights.

    Arjovsky et al. 2017 (weights bounded by .01), Gulrajani et al. 2017 (a penalty of weight 10, five steps of the critic).

    Args:
        labels: Not used, because the targets of the images are not.
        critic_steps: Steps of the critic before each step of the generator.
        penalty: The weight of the gradient penalty: squared distance of the slope from 1 between real and drawn images; 0: none.
        clip: The largest absolute weight of the critic, instead of a penalty; 0.01 in the first paper; null: not bounded.

    Raises:
        ConfigError: When neither or both of `penalty` and `clip` are set.
    """
    if clip is None and penalty == 0:
        wrong, fix = "nothing holds the critic's slope", "use loss.penalty=10, or loss.clip=0.01"
        raise ConfigError(problem("loss.penalty", wrong, got=penalty, fix=fix))
    if clip is not None and penalty > 0:
        wrong = f"the critic's weights are bounded by {clip:g} already"
        raise ConfigError(problem("loss.penalty", wrong, got=penalty, fix="add loss.penalty=0, or leave loss.clip out"))
    return Wasserstein(critic_steps, penalty, clip)
