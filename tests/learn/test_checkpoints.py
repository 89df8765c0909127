"""States come back as they were, hold no pickle, and a damaged one is noticed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe import files
from mlpipe.errors import ProjectError
from mlpipe.learn import checkpoints
from mlpipe.learn.checkpoints import PlainCheckpointIO

STATE: dict[str, Any] = {
    "a": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3),
    "b": [1, (2.5, float("inf"), None), {"x": True, 3: torch.tensor(7), (1, "k"): float("-inf")}],
    "c": {"empty": {}, "list": [], "tuple": (), "no": False},
    "d": {"scalar": torch.tensor(1.5, dtype=torch.float64), "view": torch.arange(12).reshape(3, 4).t()[1:]},
}
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner)
    ),
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    PlainCheckpointIO().save_checkpoint(STATE, tmp_path / "c")
    return tmp_path / "c"


def test_everything_comes_back_as_it_was(saved: Path) -> None:
    again = PlainCheckpointIO().load_checkpoint(saved)
    assert torch.equal(again["a"], STATE["a"]) and again["a"].dtype == torch.bfloat16
    assert again["b"][:2] == STATE["b"][:2] and isinstance(again["b"][1], tuple)
    assert again["b"][2][3].item() == 7
    assert again["b"][2][1, "k"] == -math.inf
    assert again["b"][2]["x"] is True and again["c"]["no"] is False
    assert again["c"] == STATE["c"]
    assert again["d"]["scalar"].shape == () and again["d"]["scalar"].dtype == torch.float64
    assert torch.equal(again["d"]["view"], STATE["d"]["view"])


@settings(max_examples=30, deadline=None)
@given(PLAIN)
def test_plain_values_survive_json(value: Any) -> None:
    text = json.dumps(checkpoints._as_json(value, {}), allow_nan=False)
    again = checkpoints._from_json(json.loads(text), {})
    assert again == value and repr(again) == repr(value)


def test_not_a_number_and_numpys_numbers(tmp_path: Path) -> None:
    io = PlainCheckpointIO()
    io.save_checkpoint({"nan": math.nan, "f": np.float64(0.1), "i": np.int64(3), "deep": {0: math.nan}}, tmp_path / "c")
    again = io.load_checkpoint(tmp_path / "c")
    assert math.isnan(again["nan"]) and math.isnan(again["deep"][0])
    assert (again["f"], again["i"]) == (0.1, 3)


def test_what_cannot_be_held_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a checkpoint cannot hold a function"):
        PlainCheckpointIO().save_checkpoint({"f": lambda: None}, tmp_path / "c")
    assert not checkpoints.exists(tmp_path / "c")


def test_no_pickle(saved: Path) -> None:
    names = sorted(file.name for file in saved.iterdir())
    assert names[1] == "state.json" and names[0].endswith(".tensors.safetensors")
    assert len(names) == 2
    json.loads((saved / "state.json").read_text())
    assert all(b"pickle" not in file.read_bytes() and file.read_bytes()[:2] != b"PK" for file in saved.iterdir())


def test_a_new_state_replaces_the_old_one(saved: Path) -> None:
    PlainCheckpointIO().save_checkpoint({**STATE, "epoch": 2, "a": torch.ones(2)}, saved)
    again = PlainCheckpointIO().load_checkpoint(saved)
    assert again["epoch"] == 2 and torch.equal(again["a"], torch.ones(2))
    assert len(list(saved.iterdir())) == 4
    for epoch in (3, 4):
        PlainCheckpointIO().save_checkpoint({**STATE, "epoch": epoch}, saved)
    assert PlainCheckpointIO().load_checkpoint(saved)["epoch"] == 4 and len(list(saved.iterdir())) == 4


def test_the_old_state_stays_when_saving_is_cut_off(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.files, "write_json", cut_off)
    with pytest.raises(KeyboardInterrupt):
        PlainCheckpointIO().save_checkpoint({"epoch": 2, "a": torch.ones(2)}, saved)
    assert torch.equal(PlainCheckpointIO().load_checkpoint(saved)["a"], STATE["a"])


@pytest.mark.parametrize("damage", ["last byte", "cut", "gone", "state cut", "state of another kind"])
def test_a_damaged_one_is_noticed(damage: str, saved: Path) -> None:
    (tensors,) = saved.glob("*.safetensors")
    state = saved / "state.json"
    match damage:
        case "last byte":
            content = tensors.read_bytes()
            tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "cut":
            tensors.write_bytes(tensors.read_bytes()[:-4])
        case "gone":
            tensors.unlink()
        case "state cut":
            state.write_text(state.read_text()[:-20])
        case _:
            state.write_text("[]")
    with pytest.raises(
        ProjectError, match=r"state.json: (the state|its tensors) .*; continue the run, or start it again"
    ):
        PlainCheckpointIO().load_checkpoint(saved)


def flipped(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def test_settling_goes_back_to_the_newest_that_is_whole(saved: Path) -> None:
    io = PlainCheckpointIO()
    io.save_checkpoint({"epoch": 2, "a": torch.ones(2)}, saved)
    assert checkpoints.verify_newest_state(saved) == [] and io.load_checkpoint(saved)["epoch"] == 2
    tensors = saved / json.loads((saved / "state.json").read_text())["tensors"]
    flipped(tensors, -1)
    (said,) = checkpoints.verify_newest_state(saved)
    assert said.startswith(f"{saved / 'state.json'}: its tensors ({tensors.name}) do not have the checksum")
    assert checkpoints.exists(saved) and torch.equal(io.load_checkpoint(saved)["a"], STATE["a"])
    assert checkpoints.verify_newest_state(saved) == []
    # Written again after that, the damaged tensors are gone, and there is one to go back to.
    io.save_checkpoint({"epoch": 2, "a": torch.ones(2)}, saved)
    assert io.load_checkpoint(saved)["epoch"] == 2
    flipped(saved / "state.json", 40)
    assert len(checkpoints.verify_newest_state(saved)) == 1 and torch.equal(io.load_checkpoint(saved)["a"], STATE["a"])


def test_settling_where_nothing_is_whole_leaves_nothing(saved: Path, tmp_path: Path) -> None:
    PlainCheckpointIO().save_checkpoint({"epoch": 2, "a": torch.ones(2)}, saved)
    for path in saved.glob("*.json"):
        path.write_text("{")
    assert [said.partition(":")[0] for said in checkpoints.verify_newest_state(saved)] == [
        str(saved / "state.json"),
        str(saved / "state.before.json"),
    ]
    assert not checkpoints.exists(saved) and checkpoints.verify_newest_state(saved) == []
    assert checkpoints.verify_newest_state(tmp_path / "nothing") == []


@given(st.integers(0, 10**6), st.sampled_from(["state.json", "tensors"]))
def test_any_flipped_bit_of_a_state_is_noticed(at: int, which: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "c"
        PlainCheckpointIO().save_checkpoint({"epoch": 2, "a": torch.ones(3)}, folder)
        path = folder / "state.json" if which == "state.json" else next(folder.glob("*.safetensors"))
        before = path.read_bytes()
        flipped(path, at % len(before))
        said = checkpoints.verify_newest_state(folder)
        # White space, and the kind of an object's end, may differ without a change of what is read.
        same = path.is_file() and which == "state.json" and json.loads(path.read_text()) == json.loads(before)
        assert len(said) == (0 if same else 1)


def test_exists_and_remove(saved: Path, tmp_path: Path) -> None:
    assert checkpoints.exists(saved) and not checkpoints.exists(tmp_path)
    PlainCheckpointIO().remove_checkpoint(saved)
    assert not saved.exists()


@pytest.mark.parametrize("place", ["/dev/zero", "../other.safetensors", "linked.tensors.safetensors"])
def test_tensors_of_another_place_are_none_of_a_state(place: str, tmp_path: Path) -> None:
    """A device without end would be read for ever."""
    folder = tmp_path / "c"
    (tmp_path / "other.safetensors").write_bytes(b"x")
    files.write_sealed(folder / "state.json", {"tensors": place, "hash": files.digest_bytes(b"x"), "state": {}})
    (folder / "linked.tensors.safetensors").symlink_to(tmp_path / "other.safetensors")
    assert checkpoints.verify_newest_state(folder) == [f"{folder / 'state.json'}: its tensors ({place}) lie elsewhere"]
    assert not checkpoints.exists(folder)
