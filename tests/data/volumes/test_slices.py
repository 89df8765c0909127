"""Slices: the counting that rmldnn's page describes, and a network that changes nothing gives the volume back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data.volumes import slices
from mlpipe.data.volumes.slices import Grid
from mlpipe.errors import ConfigError


def grid(shape: tuple[int, ...], **keys: Any) -> Grid:
    return Grid(slices.slice_set("slices[0]", 1, **keys), shape)


def volume(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("length", "size", "stride", "kept", "discarded"),
    [(590, 64, 64, 10, 9), (1006, 32, 32, 32, 31), (10, 4, 3, 3, 3), (10, 4, 4, 3, 2), (8, 4, 4, 2, 2), (3, 5, 1, 1, 0),
     (9, 4, 2, 4, 3), (10, 2, 9, 2, 1)],
)  # fmt: skip
def test_the_number_of_slices(length: int, size: int, stride: int, kept: int, discarded: int) -> None:
    assert len(grid((length,), sizes=[size], strides=[stride])) == kept
    assert len(grid((length,), sizes=[size], strides=[stride], discard_remainders=True)) == discarded


def test_the_example_of_the_page() -> None:
    first = grid((540, 131, 1001), sizes=[1, 131, 1001], padded_sizes=[1, 144, 1008])
    assert first.cut.seen == (144, 1008) and len(first) == 540 and first.cut.name == "slice_set_1"
    assert (first.cut.before, first.cut.after) == ((0, 6, 3), (0, 7, 4))
    second = grid((540, 131, 1001), sizes=[540, 1, 1001], padded_sizes=[560, 1, 1008], transpose=True, name="xz-slices")
    assert second.cut.seen == (1008, 560) and len(second) == 131 and second.cut.rank == 2
    whole = np.broadcast_to(np.arange(540 * 1001, dtype=np.float32).reshape(1, 540, 1, 1001), (2, 540, 131, 1001))
    seen = slices.cut(whole, second, 7)
    assert np.array_equal(seen[:, 3:-4, 10:-10], whole[:, :, 7, :].swapaxes(1, 2))
    assert not seen[:, :3].any() and not seen[:, -4:].any() and not seen[:, :, :10].any()


def test_remainders_are_filled_up_or_left_out() -> None:
    line = np.arange(1, 11, dtype=np.float32)[None]
    kept = grid((10,), sizes=[4], padding=[1])
    assert slices.cut(line, kept, 2).tolist() == [[0, 9, 10, 0, 0, 0]] and kept.extent == (10,)
    assert slices.cut(line, kept, 1).tolist() == [[0, 5, 6, 7, 8, 0]]
    around = grid((10,), sizes=[4], padding=[1], margin="data")
    assert [slices.cut(line, around, index)[0].tolist() for index in range(3)] == [
        [0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9], [8, 9, 10, 0, 0, 0],
    ]  # fmt: skip
    whole = grid((64, 590, 1006), sizes=[64, 64, 32], discard_remainders=True)
    assert whole.extent == (64, 576, 992)


def test_overlaps_are_averaged() -> None:
    over = grid((5,), sizes=[3], strides=[2])
    found = slices.assemble(over, [np.full((2, 3), value, np.float32) for value in (1, 3)])
    assert found.tolist() == [[1, 1, 2, 3, 3]] * 2 and over.coverage[0].tolist() == [1, 1, 2, 1, 1]


def test_slices_are_in_the_order_of_their_axes() -> None:
    found = grid((4, 5, 6), sizes=[2, 5, 3])
    assert [found.start(index) for index in range(len(found))] == [(0, 0, 0), (0, 0, 3), (2, 0, 0), (2, 0, 3)]


def test_a_volume_without_an_axis_of_channels_has_one() -> None:
    found = grid((4, 6), sizes=[1, 6])
    assert np.array_equal(slices.cut(np.ones((4, 6)), found, 3), np.ones((1, 6)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Grid, int]:
    axes = draw(st.integers(2, 3))
    shape = tuple(draw(st.integers(1, 9)) for _ in range(axes))
    discards = draw(st.booleans())
    sizes = [draw(st.integers(1, length if discards else length + 2)) for length in shape]
    if max(sizes) == 1:
        shape, sizes = (4, *shape[1:]), [draw(st.integers(2, 4)), *sizes[1:]]
    keys: dict[str, Any] = {"strides": [draw(st.integers(1, size)) for size in sizes]}
    wide = [draw(st.integers(0, 3)) if size > 1 else 0 for size in sizes]
    match draw(st.sampled_from(["none", "padding", "padded_sizes"])):
        case "padding":
            keys["padding"] = wide
        case "padded_sizes":
            keys["padded_sizes"] = [size + extra for size, extra in zip(sizes, wide, strict=True)]
    is_flat = sum(size > 1 for size in sizes) == 2
    transpose, margin = is_flat and draw(st.booleans()), draw(st.sampled_from(["zeros", "data"]))
    made = grid(shape, sizes=sizes, discard_remainders=discards, transpose=transpose, margin=margin, **keys)
    return made, draw(st.integers(1, 3))


@settings(max_examples=100, deadline=None)
@given(cases())
def test_what_is_not_changed_comes_back(case: tuple[Grid, int]) -> None:
    made, channels = case
    whole = volume(channels, *made.shape)
    parts = [slices.cut(whole, made, index) for index in range(len(made))]
    assert all(part.shape == (channels, *made.cut.seen) for part in parts)
    expected = whole[(slice(None), *(slice(length) for length in made.extent))]
    assert np.allclose(slices.assemble(made, parts), expected, rtol=1e-5, atol=1e-6)
    assert made.cut.discard_remainders or made.extent == made.shape


@settings(max_examples=100, deadline=None)
@given(cases())
def test_coverage_is_what_slices_cover(case: tuple[Grid, int]) -> None:
    made, _ = case
    slow = np.zeros(made.extent)
    for index in range(len(made)):
        slow[made.region(index)] += 1
    fast = np.ones(())
    for over in made.coverage:
        fast = np.multiply.outer(fast, over)
    assert np.array_equal(slow, fast) and made.overlaps == bool((slow > 1).any()) and not made.has_gaps


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"sizes": [4, 4], "padding": [1, 1], "padded_sizes": [6, 6]}, "padding: says the same as padded_sizes"),
        ({"sizes": [4, 4], "padded_sizes": [6, 3]}, "padded_sizes: is smaller than sizes, got [6, 3]"),
        ({"sizes": [4, 4], "strides": [4]}, "strides: needs a number for each of the 2 axes"),
        ({"sizes": [1, 1]}, "sizes: leaves the network no axis"),
        ({"sizes": [1, 4], "padding": [1, 0]}, "padding: pads an axis of size 1"),
        ({"sizes": [4, 4, 4], "transpose": True}, "transpose: is for slices of two axes"),
        ({"sizes": [4, 4], "name": "a/b"}, "name: cannot name a dataset"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match="slices\\[0\\]") as error:
        slices.slice_set("slices[0]", 1, **keys)
    assert len(error.value.problems) == 1 and error.value.problems[0].startswith(f"slices[0].{sentence}")


def test_sets_must_go_together_and_cover_the_volume() -> None:
    one, other, short = (slices.slice_set("s", 1, sizes=sizes, name="a") for sizes in ([1, 4, 4], [4, 4, 4], [1, 4]))
    with pytest.raises(ConfigError) as error:
        slices.require_compatible([one, other, short], "s")
    assert [text.split(",")[0] for text in error.value.problems] == [
        "s[1].sizes: gives slices of 3 axes", "s[1].name: is taken", "s[2].sizes: has other axes", "s[2].name: is taken",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="no whole slice fits into"):
        slices.require_cuttable(grid((3,), sizes=[4], discard_remainders=True), "s")
    gaps = grid((9,), sizes=[2], strides=[3])
    with pytest.raises(ConfigError, match="leaves gaps"):
        slices.require_cuttable(gaps, "s")
    slices.require_cuttable(gaps, "s", joined=False)


def test_a_number_too_large_for_half_precision_is_an_error() -> None:
    with pytest.raises(FloatingPointError):
        slices.put(np.zeros((1, 4), np.float16), grid((4,), sizes=[4]), 0, np.full((1, 4), 1e5, np.float32))


@pytest.mark.parametrize(
    "keys", [{"sizes": [4, 5], "strides": [2, 3]}, {"sizes": [4, 5], "strides": [1, 5]}, {"sizes": [3, 4]}]
)
@pytest.mark.parametrize("discard", [True, False])
def test_the_last_piece_of_a_region_is_where_no_slice_was(keys: dict[str, Any], discard: bool) -> None:
    one = grid((9, 12), **keys, discard_remainders=discard)
    seen = np.zeros(one.extent, bool)
    for index in range(len(one)):
        own, counted = seen[one.region(index)], np.zeros(seen[one.region(index)].shape, int)
        for piece, is_first in one.pieces(index):
            counted[piece] += 1
            assert not own[piece].any() if is_first else own[piece].all()
        assert (counted == 1).all()
        seen[one.region(index)] = True
    assert seen.all()
