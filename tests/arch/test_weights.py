"""Weights on disk: equal weights are equal bytes, foreign files run no code, and what matched is said."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mlpipe.arch import weights
from mlpipe.errors import DataError
from mlpipe.files import digest_file


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def test_round_trip(tmp_path: Path) -> None:
    state = network().state_dict()
    digest = weights.save(state, tmp_path / "w.safetensors")
    read = weights.read(tmp_path / "w.safetensors")
    assert set(read) == set(state) and all(torch.equal(read[name], state[name]) for name in state)
    assert all(read[name].dtype == state[name].dtype for name in state)
    assert digest == digest_file(tmp_path / "w.safetensors")


def test_a_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    """Musket's files are called best-0.0.weights, and stages start from them."""
    state = network().state_dict()
    weights.save(state, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").rename(tmp_path / "best-0.0.weights")
    read = weights.read(tmp_path / "best-0.0.weights")
    assert all(torch.equal(read[name], state[name]) for name in state)
    for content in (b"", b"\x08\0\0\0\0\0\0\0{", b"\x02\0\0\0\0\0\0\0{}more"):
        (tmp_path / "other.weights").write_bytes(content)
        with pytest.raises(DataError, match=r"arch\.weights: cannot be read"):
            weights.read(tmp_path / "other.weights")


def test_equal_weights_are_equal_bytes_whatever_their_order_and_layout(tmp_path: Path) -> None:
    state = dict(network().state_dict())
    turned = {name: state[name] for name in reversed(state)}
    turned["3.weight"] = state["3.weight"].t().contiguous().t()
    assert not turned["3.weight"].is_contiguous()
    first, second = weights.save(state, tmp_path / "a.safetensors"), weights.save(turned, tmp_path / "b.safetensors")
    assert first == second
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert weights.save(network(1).state_dict(), tmp_path / "c.safetensors") != first


@pytest.mark.parametrize("wrap", [None, "state_dict", "model", "state_dict_ema", "model_ema", "model_state_dict"])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_torch_file_of_tensors_is_read(tmp_path: Path, wrap: str | None, suffix: str) -> None:
    state = network().state_dict()
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / f"w{suffix}")
    read = weights.read(tmp_path / f"w{suffix}")
    assert set(read) == set(state) and all(torch.equal(read[name], state[name]) for name in state)


def test_averaged_weights_and_arguments_beside_them_are_read_as_timm_does(tmp_path: Path) -> None:
    from timm.models import load_state_dict

    stored = {"state_dict": network(0).state_dict(), "state_dict_ema": network(1).state_dict(), "epoch": 3}
    torch.save({**stored, "args": argparse.Namespace(lr=0.1, model="x")}, tmp_path / "w.pth.tar")
    read, theirs = weights.read(tmp_path / "w.pth.tar"), load_state_dict(str(tmp_path / "w.pth.tar"))
    assert set(read) == set(theirs) and all(torch.equal(read[name], theirs[name]) for name in theirs)


def test_a_file_within_itself_ends(tmp_path: Path) -> None:
    ring: dict[str, Any] = {"bias": torch.zeros(2)}
    ring["model"] = ring
    torch.save(ring, tmp_path / "w.pt")
    assert set(weights.read(tmp_path / "w.pt")) == {"bias"}


def test_a_tensor_of_more_numbers_than_the_file_has_bytes_is_refused(tmp_path: Path) -> None:
    """B12: one number with a stride of 0, said to be 10^12."""
    torch.save({"weight": torch.zeros(1).expand(10**6, 10**6), "bias": torch.zeros(3)}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"more numbers than it has bytes: weight \[1000000, 1000000\], got"):
        weights.read(tmp_path / "w.pt")
    torch.save({"weight": torch.zeros(1).expand(4, 5)}, tmp_path / "w.pt")
    assert weights.read(tmp_path / "w.pt")["weight"].shape == (4, 5)


class Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("plain", [True, False])
def test_a_pickle_is_refused_and_not_run(tmp_path: Path, plain: bool) -> None:
    """F17: weights were unpickled."""
    marker, path = tmp_path / "executed", tmp_path / "w.pt"
    stored = {"weight": torch.zeros(2), "attack": Attack(marker)}
    if plain:
        path.write_bytes(pickle.dumps(stored))
    else:
        torch.save(stored, path)
    with pytest.raises(DataError, match=r"arch\.weights: cannot be read"):
        weights.read(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Attack(marker)))
    assert marker.exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02.", b"PK\x03\x04 broken"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"arch\.weights: cannot be read \(.+\)") as caught:
        weights.read(tmp_path / name)
    assert len(caught.value.problems) == 1 and "\n" not in str(caught.value)


@pytest.mark.parametrize("stored", [{}, {"epoch": 3}, [1, 2], torch.zeros(3)])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, stored: object) -> None:
    torch.save(stored, tmp_path / "w.pt")
    with pytest.raises(DataError, match="holds no tensors"):
        weights.read(tmp_path / "w.pt")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        weights.read(tmp_path / "w.pt")


def test_the_report_names_what_did_not_match() -> None:
    target, given = network(0), dict(network(1).state_dict())
    del given["1.bias"]
    given["3.weight"], given["extra"] = torch.zeros(4, 8), torch.zeros(1)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    match = weights.load(target, given)
    assert match.missing == ("1.bias",)
    assert match.unexpected == ("extra",)
    assert match.misshapen == ("3.weight",)
    assert set(match.loaded) == set(before) - {"1.bias", "3.weight"}
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, given[name] if name in match.loaded else before[name])
    assert match.sentence() == ("7 tensors loaded, 1 missing (1.bias), 1 unused (extra), 1 of another shape (3.weight)")


def test_a_mean_is_that_of_each_number() -> None:
    one = {"a": torch.tensor([1.0, 2.0]), "half": torch.tensor([1.0], dtype=torch.float16), "n": torch.tensor(3)}
    two = {"a": torch.tensor([3.0, 5.0]), "half": torch.tensor([2.0], dtype=torch.float16), "n": torch.tensor(8)}
    found = weights.mean([one, two])
    assert found["a"].tolist() == [2.0, 3.5] and found["n"].item() == 3
    assert found["half"].item() == 1.5 and found["half"].dtype == torch.float16
    # Of equal numbers it is that number, however many there are.
    third = {"a": torch.tensor([0.1, 1 / 3, 1e-30, 3e38])}
    assert torch.equal(weights.mean([third] * 7)["a"], third["a"])
    with pytest.raises(DataError, match="tensors differ in name or shape: a, b; average networks of one architecture"):
        weights.mean([{"a": torch.zeros(2)}, {"a": torch.zeros(3), "b": torch.zeros(1)}])


def test_a_hash_is_of_names_types_shapes_and_numbers() -> None:
    plain = {"a": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}
    known = weights.digest(plain)
    assert weights.digest(dict(reversed(plain.items()))) == known
    assert weights.digest({**plain, "a": plain["a"].T.contiguous().T}) == known
    for other in (
        {**plain, "a": plain["a"] + 1},
        {**plain, "a": plain["a"].reshape(3, 2)},
        {**plain, "n": torch.tensor(3, dtype=torch.int32)},
        {"b": plain["a"], "n": plain["n"]},
        {"a": plain["a"]},
    ):
        assert weights.digest(other) != known


def test_a_file_of_more_tensors_than_any_network_has_is_not_read(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' + b',"x":{"dtype":"F32"}' * 50_000 + b"}"
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(DataError, match="holds 50,001 tensors, more than the 50,000 that are read"):
        weights.read(tmp_path / "w.safetensors")
