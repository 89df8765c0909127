"""Batches go through a model in their order, and half as many at a time from where memory runs out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mlpipe.errors import Interrupted, TrainingError
from mlpipe.learn import tta
from mlpipe.predicting.batches import Batch
from mlpipe.predicting.model import Inputs, Model
from mlpipe.predicting.through import through
from mlpipe.runs.sinks import Predicted


def little_memory(monkeypatch: pytest.MonkeyPatch, most: int, after: int = 0) -> list[int]:
    """More samples than that do not fit through a model from so many calls on; returns how many were tried."""
    seen: list[int] = []
    of_network = Model.of_network

    def limited(network: torch.nn.Module, *arguments: object, **options: object) -> Model:
        network.register_forward_pre_hook(lambda _, given: scarce(len(given[0]), seen, most, after))
        return of_network(network, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "of_network", staticmethod(limited))
    return seen


def scarce(size: int, seen: list[int], most: int, after: int = 0) -> None:
    seen.append(size)
    if size > most and len(seen) > after:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def model(check: Callable[[int], None] = lambda size: None, kind: str = "regression") -> Model:
    """Gives the sum of the pixels of each channel."""

    def outputs(inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        check(len(inputs))
        return {"target": inputs.float().sum((2, 3))}

    return Model({"target": kind}, {"target": ("a", "b")}, Inputs(2, (3, 4)), outputs)


def batches(*sizes: int) -> list[Batch]:
    images = torch.rand(sum(sizes), 2, 3, 4, generator=torch.Generator().manual_seed(0))
    found, start = [], 0
    for size in sizes:
        stop = start + size
        found.append(Batch([str(row) for row in range(start, stop)], images[start:stop], torch.arange(start, stop)))
        start = stop
    return found


def test_every_sample_comes_out_in_its_order() -> None:
    given, parts = batches(4, 4, 1), list(through(model(), batches(4, 4, 1), most=4))
    assert [len(part) for part in parts] == [4, 4, 1]
    assert [name for part in parts for name in part.ids] == list("012345678")
    expected = torch.cat([one.inputs for one in given]).sum((2, 3)).numpy()
    np.testing.assert_allclose(np.concatenate([part.outputs for part in parts]), expected)


def test_batches_are_joined_and_cut_anew_where_memory_ran_out() -> None:
    seen: list[int] = []
    parts = list(through(model(lambda size: scarce(size, seen, 20, 1)), batches(50, 50, 20), most=50))
    assert seen == [50, 50, 25, *[12] * 5, 10]
    assert [name for part in parts for name in part.ids] == [str(row) for row in range(120)]
    whole = [part.outputs for part in through(model(), batches(50, 50, 20))]
    np.testing.assert_allclose(np.concatenate([part.outputs for part in parts]), np.concatenate(whole))


def test_targets_are_cut_with_their_samples() -> None:
    seen: list[int] = []

    def keep(outputs: torch.Tensor, batch: Batch) -> Predicted:
        assert batch.target is not None and batch.target.tolist() == [int(name) for name in batch.ids]
        return Predicted(batch.ids, outputs.numpy())

    kept = through(model(lambda size: scarce(size, seen, 3)), batches(5, 5), keep=keep, most=5)
    assert [len(part) for part in kept] == [2] * 5


def test_nothing_smaller_than_a_sample_and_than_a_batch_that_is_not_cut() -> None:
    with pytest.raises(TrainingError, match=r"memory ran out with one image at a time .*preprocessing\.size"):
        list(through(model(lambda size: scarce(size, [], 0)), batches(4), most=4))
    with pytest.raises(TrainingError, match=r"memory ran out with 4 slices at a time; .*mode\.batch_size"):
        list(through(model(lambda size: scarce(size, [], 0)), batches(4), where="slices"))


def test_a_wish_to_stop_ends_it_after_a_batch() -> None:
    seen: list[int] = []
    with pytest.raises(Interrupted):
        list(through(model(seen.append), batches(4, 4), stop=lambda: True))
    assert seen == [4]


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    def broken(size: int) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(through(model(broken), batches(4), most=4))


def test_views_are_averaged() -> None:
    (plain,) = through(model(), batches(3))
    (flipped,) = through(model(), batches(3), views=tta.flips(1.0))
    np.testing.assert_allclose(plain.outputs, flipped.outputs, rtol=1e-6)
