"""Noise that depends on numbers alone, the turns of a generator and its critic, and the slope that a penalty holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from mlpipe.arch import gan
from mlpipe.arch.gan import ClassFeatures, ConvCritic, ConvGenerator, Gan, PixelFeatures


def made(shape: tuple[int, ...] = (1, 8, 8), peak: float = 255.0, signed: bool = True) -> Gan:
    torch.manual_seed(0)
    parts = ConvGenerator(6, shape, 4, signed=signed), ConvCritic(shape, 4), PixelFeatures(peak)
    return Gan(*parts, 6, shape, peak, signed=signed, target="target")


def images(count: int, shape: tuple[int, ...] = (1, 8, 8)) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8))


def test_bits_are_those_of_splitmix() -> None:
    """The first numbers of the published generator with the state 0, computed with Python's own numbers."""

    def reference(state: int) -> int:
        mask = 2**64 - 1
        z = (state * 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    assert reference(1) == 0xE220A8397B1DCDAF
    found = gan.mixed(torch.arange(1, 50) * gan._STEP)
    assert [one % 2**64 for one in found.tolist()] == [reference(number) for number in range(1, 50)]


def test_noise_is_normal_and_independent() -> None:
    noise = gan.normal(gan.seeds_of(3, 4000), 5).double().numpy()
    for column in noise.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(noise.T) - np.eye(5)).max() < 0.06
    assert abs(np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1]) < 0.06


def test_noise_depends_on_its_seed_alone() -> None:
    few, many = gan.normal(gan.seeds_of(1, 3), 7), gan.normal(gan.seeds_of(1, 9), 7)
    assert few.equal(many[:3])
    assert not few.equal(gan.normal(gan.seeds_of(2, 3), 7))
    assert len(set(gan.seeds_of(1, 1000).tolist()) | set(gan.seeds_of(2, 1000).tolist())) == 2000


def test_the_seed_of_an_image_is_that_of_its_pixels() -> None:
    given = images(6)
    seeds = gan.seeds_of_images(given)
    assert seeds[2:4].equal(gan.seeds_of_images(given[2:4].float()))
    assert len(set(seeds.tolist())) == 6
    swapped = given.clone()
    swapped[:, :, 0, 0], swapped[:, :, 0, 1] = given[:, :, 0, 1], given[:, :, 0, 0]
    assert not seeds.equal(gan.seeds_of_images(swapped))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 48), (1, 17, 23), (2, 3, 5), (1, 1, 1), (3, 64, 64)])
@pytest.mark.parametrize("signed", [True, False])
def test_networks_fit_images_of_any_size(shape: tuple[int, ...], signed: bool) -> None:
    drawn = ConvGenerator(5, shape, 4, signed=signed)(torch.randn(2, 5))
    assert drawn.shape == (2, *shape)
    assert float(drawn.detach().min()) >= (-1 if signed else 0) and float(drawn.detach().max()) <= 1
    assert ConvCritic(shape, 4)(drawn).shape == (2, 1)


def test_the_smallest_map_has_four_to_seven_pixels() -> None:
    assert [gan.doublings([side, 100]) for side in (1, 4, 7, 8, 28, 32, 63, 64)] == [0, 0, 0, 1, 2, 3, 3, 4]


@pytest.mark.parametrize("generators_turn", [True, False])
def test_only_the_part_whose_turn_it_is_gets_gradients(generators_turn: bool) -> None:
    network = made()
    network.begin(generators_turn=generators_turn, penalized=True, bound=None)
    network(images(4))["target"].sum().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == name.startswith("generator" if generators_turn else "critic"), name
        assert parameter.requires_grad


def test_the_penalty_of_a_linear_critic_is_known() -> None:
    """Of f(x) = w x the gradient is w everywhere, so that the penalty is (|w| - 1)^2."""
    network = made()
    network.critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    weight = network.critic[1].weight
    network.begin(generators_turn=False, penalized=True, bound=None)
    taught = network(images(5))["target"]
    norm = float(weight.detach().norm())
    assert taught[:, 2].tolist() == pytest.approx([(norm - 1) ** 2] * 5, rel=1e-5)
    taught[:, 2].mean().backward()
    expected = 2 * (weight.norm() - 1) * weight / weight.norm()
    torch.testing.assert_close(weight.grad, expected.detach(), rtol=1e-4, atol=1e-6)


def test_weights_of_the_critic_are_bounded() -> None:
    network = made()
    network.begin(generators_turn=False, penalized=False, bound=0.01)
    assert max(float(one.abs().max()) for one in network.critic.parameters()) <= 0.01
    assert max(float(one.abs().max()) for one in network.generator.parameters()) > 0.01
    assert float(network(images(3))["target"][:, 2].abs().max()) == 0


def test_what_is_measured_does_not_depend_on_the_batch() -> None:
    network, given = made().eval(), images(7)
    whole = network(given)["target"]
    assert whole.shape == (7, 2 + 2 * 64)
    torch.testing.assert_close(whole, torch.cat([network(one)["target"] for one in given.split(3)]))
    torch.testing.assert_close(whole[:, 2:66], (given.float() / 255).flatten(1))


def test_drawn_images_are_pixels_of_their_seeds() -> None:
    network = made().train()
    drawn = network.draw(gan.seeds_of(1, 70))
    assert drawn.shape == (70, 1, 8, 8) and network.training
    assert 0 <= float(drawn.min()) < float(drawn.max()) <= 255
    assert drawn[:5].equal(network.draw(gan.seeds_of(1, 70))[:5])
    torch.testing.assert_close(drawn[:5], network.draw(gan.seeds_of(1, 5)))


def test_arrays_are_drawn_as_they_are() -> None:
    network = made(peak=1.0, signed=False)
    assert network.pixels(torch.tensor([-2.0, 3.0])).tolist() == [-2.0, 3.0]
    assert network.seen(torch.tensor([-2.0, 3.0])).tolist() == [-2.0, 3.0]


def test_features_never_learn_and_are_stored() -> None:
    shape = (1, 8, 8)
    parts = ConvGenerator(6, shape, 4, signed=True), ConvCritic(shape, 4), ClassFeatures(1, 3, 255.0)
    network = Gan(*parts, 6, shape, 255.0, signed=True, target="target")
    assert not [name for name, _ in network.named_parameters() if name.startswith("features")]
    assert "features.body.0.weight" in network.state_dict()
    assert network.train().eval()(images(2))["target"].shape == (2, 2 + 2 * 64)
