"""Slices of a volume and their assembly: the position of each slice, and the part of its prediction that counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, problem

Floats = npt.NDArray[Any]
Region = tuple[slice, ...]


class Cuttable(Protocol):
    """An array that can be cut: in memory, a mapped file, or an HDF5 dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape, with channels first or only spatial axes."""

    def __getitem__(self, where: Any, /) -> Any: ...


@dataclass(frozen=True)
class SliceSet:
    """Settings for cutting a volume; every tuple has one number per spatial axis of the volume.

    Attributes:
        name: The name of its dataset of predictions.
        sizes: The part of a slice whose predictions count. The network does not see axes of size 1.
        before: The padding before it.
        after: The padding after it.
        strides: The distance between consecutive slices.
        discard_remainders: Leave out what no whole slice covers, instead of padding the last slice with zeros.
        transpose: Swap the two axes of a slice for the network, and swap them back afterwards.
        margin: The padding of a slice: `zeros`, or the volume's own `data`, with zeros outside of the volume.
    """

    name: str
    sizes: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    strides: tuple[int, ...]
    discard_remainders: bool = False
    transpose: bool = False
    margin: Literal["zeros", "data"] = "zeros"

    @property
    def flat(self) -> tuple[int, ...]:
        """Return the axes that the network does not see."""
        return tuple(axis for axis, size in enumerate(self.sizes) if size == 1)

    @property
    def rank(self) -> int:
        """Return the number of axes that the network sees."""
        return len(self.sizes) - len(self.flat)

    @property
    def padded(self) -> tuple[int, ...]:
        """Return the sizes including the padding."""
        return tuple(map(sum, zip(self.sizes, self.before, self.after, strict=True)))

    @property
    def seen(self) -> tuple[int, ...]:
        """Return the spatial shape that the network sees."""
        shape = tuple(size for axis, size in enumerate(self.padded) if axis not in self.flat)
        return shape[::-1] if self.transpose else shape

    def inside(self, array: Floats) -> Floats:
        """Return a view of what the network sees, (channels, *seen), with the axes of the volume, (channels, *padded)."""
        turned = array.swapaxes(-1, -2) if self.transpose else array
        return np.expand_dims(turned, tuple(axis + 1 for axis in self.flat))


def slice_set(
    place: str,
    number: int,
    *,
    sizes: list[Annotated[int, ">= 1"]],
    padding: list[Annotated[int, ">= 0"]] | None = None,
    padded_sizes: list[Annotated[int, ">= 1"]] | None = None,
    strides: list[Annotated[int, ">= 1"]] | None = None,
    discard_remainders: bool = False,
    transpose: bool = False,
    margin: Literal["zeros", "data"] = "zeros",
    name: str | None = None,
) -> SliceSet:
    """Return a slice set from a configuration.

    Args:
        place: The configuration key, for error messages.
        number: The number of the set, for its name, from 1.
        sizes: The size of a slice along each spatial axis; 1 removes the axis.
        padding: The padding on either side along each axis; not together with padded_sizes.
        padded_sizes: The size of a slice including padding; the larger half of an odd difference goes after the slice.
        strides: The distance between slices; none: the sizes.
        discard_remainders: Leave out what no whole slice covers.
        transpose: Swap the axes of slices that have two.
        margin: Pad slices with zeros, or with the volume's own data.
        name: The name of its dataset; none: slice_set_NUMBER.

    Raises:
        ConfigError: With one sentence for each fault.
    """
    axes, problems = len(sizes), list[str]()
    for key, values in (("padding", padding), ("padded_sizes", padded_sizes), ("strides", strides)):
        if values is not None and len(values) != axes:
            wrong = f"needs a number for each of the {axes} axes of sizes"
            problems.append(problem(f"{place}.{key}", wrong, got=values, fix="give it as many"))
    if padding is not None and padded_sizes is not None:
        fix = "leave one of the two out"
        problems.append(problem(f"{place}.padding", "says the same as padded_sizes", got=padding, fix=fix))
    if not sizes or all(size == 1 for size in sizes):
        problems.append(
            problem(f"{place}.sizes", "leaves the network no axis", got=sizes, fix="make one larger than 1")
        )
    if transpose and sum(size > 1 for size in sizes) != 2:
        fix = "leave it out, or set the other sizes to 1"
        problems.append(problem(f"{place}.transpose", "is for slices of two axes", got=sizes, fix=fix))
    title = f"slice_set_{number}" if name is None else name
    if not title or "/" in title or title in (".", ".."):
        problems.append(problem(f"{place}.name", "cannot name a dataset", got=name, fix="use a word without /"))
    if problems:
        raise ConfigError(problems)
    before, after = _paddings(place, sizes, padding, padded_sizes)
    apart = tuple(sizes if strides is None else strides)
    return SliceSet(title, tuple(sizes), before, after, apart, discard_remainders, transpose, margin)


def _paddings(
    place: str, sizes: Sequence[int], padding: Sequence[int] | None, padded_sizes: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the padding before and after along each axis.

    Raises:
        ConfigError: If padded sizes are smaller than sizes, or an axis of size 1 is padded.
    """
    key = "padding" if padded_sizes is None else "padded_sizes"
    amounts = padding if padded_sizes is None else padded_sizes
    rest = [2 * amount for amount in padding or [0] * len(sizes)]
    if padded_sizes is not None:
        rest = [padded - size for padded, size in zip(padded_sizes, sizes, strict=True)]
    if any(amount < 0 for amount in rest):
        fix = f"give no number below those of sizes, {list(sizes)}"
        raise ConfigError(problem(f"{place}.{key}", "is smaller than sizes", got=amounts, fix=fix))
    if any(amount and size == 1 for amount, size in zip(rest, sizes, strict=True)):
        fix = "pad the other axes only"
        raise ConfigError(
            problem(f"{place}.{key}", "pads an axis of size 1, which is taken away", got=amounts, fix=fix)
        )
    return tuple(amount // 2 for amount in rest), tuple(amount - amount // 2 for amount in rest)


def slice_sets(
    sections: Sequence[Mapping[str, Any]],
    place: str,
    check: Callable[[str, Mapping[str, Any]], list[str]] = lambda place, node: [],
) -> list[SliceSet]:
    """Return the slice sets of a configuration, which share one volume and one network.

    Args:
        sections: A mapping with the keys of `slice_set` for each set.
        place: The configuration key of the list, for error messages.
        check: Returns the faults in the keys and value types of one section.

    Raises:
        ConfigError: With one sentence for each fault of any set.
    """
    sets, problems = list[SliceSet](), list[str]()
    for number, node in enumerate(sections):
        own = f"{place}[{number}]"
        if wrong := check(own, node):
            problems += wrong
            continue
        try:
            sets.append(slice_set(own, number + 1, **node))
        except ConfigError as error:
            problems += error.problems
    if not sections:
        problems.append(problem(place, "is empty", fix="write it as [{sizes:[64,64,64]}]"))
    if problems:
        raise ConfigError(problems)
    require_compatible(sets, place)
    return sets


def require_compatible(sets: Sequence[SliceSet], place: str) -> None:
    """Require that slice sets can share one volume and one network.

    Raises:
        ConfigError: With one sentence for each fault.
    """
    problems, names = list[str](), [entry.name for entry in sets]
    for index, member in enumerate(sets):
        if len(member.sizes) != len(sets[0].sizes):
            fix = f"give {len(sets[0].sizes)} numbers, as {place}[0] does"
            problems.append(problem(f"{place}[{index}].sizes", "has other axes", got=list(member.sizes), fix=fix))
        elif member.rank != sets[0].rank:
            wrong = f"gives slices of {member.rank} axes, those of {place}[0] have {sets[0].rank}"
            fix = "one network takes slices of one kind"
            problems.append(problem(f"{place}[{index}].sizes", wrong, got=list(member.sizes), fix=fix))
        if member.name in names[:index]:
            problems.append(problem(f"{place}[{index}].name", "is taken", got=member.name, fix="choose another"))
    if problems:
        raise ConfigError(problems)


@dataclass(frozen=True)
class Grid:
    """All slices of a set in a volume; the last axis varies fastest.

    Attributes:
        cut: The set.
        shape: The volume's spatial shape.
    """

    cut: SliceSet
    shape: tuple[int, ...]

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Return the number of slices along each axis."""
        counts = []
        for length, size, stride in zip(self.shape, self.cut.sizes, self.cut.strides, strict=True):
            rest = (length - size) / stride
            counts.append(math.floor(rest) + 1 if self.cut.discard_remainders else max(math.ceil(rest), 0) + 1)
        return tuple(max(count, 0) for count in counts)

    def __len__(self) -> int:
        return math.prod(self.counts)

    @cached_property
    def extent(self) -> tuple[int, ...]:
        """Return the spatial shape of the predictions: the volume's, or what whole slices cover."""
        if not self.cut.discard_remainders:
            return self.shape
        parts = zip(self.counts, self.cut.strides, self.cut.sizes, strict=True)
        return tuple((count - 1) * stride + size if count else 0 for count, stride, size in parts)

    @cached_property
    def coverage(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Return for each axis the number of slices over each position; for a point it is the product over the axes."""
        axis_counts = []
        for count, stride, size, length in zip(self.counts, self.cut.strides, self.cut.sizes, self.extent, strict=True):
            edges = np.zeros(length + 1, np.int64)
            starts = np.arange(count) * stride
            np.add.at(edges, np.minimum(starts, length), 1)
            np.add.at(edges, np.minimum(starts + size, length), -1)
            axis_counts.append(np.cumsum(edges[:-1]))
        return tuple(axis_counts)

    @cached_property
    def overlaps(self) -> bool:
        """Return whether any slices overlap."""
        return any(bool((over > 1).any()) for over in self.coverage)

    @cached_property
    def has_gaps(self) -> bool:
        """Return whether any positions are not covered by a slice."""
        return any(bool((over < 1).any()) for over in self.coverage)

    def start(self, index: int) -> tuple[int, ...]:
        """Return the start, in the volume, of the part of a slice that counts."""
        starts = []
        for count, stride in zip(reversed(self.counts), reversed(self.cut.strides), strict=True):
            index, place = divmod(index, count)
            starts.append(place * stride)
        return tuple(reversed(starts))

    def region(self, index: int) -> Region:
        """Return the part of the extent that a slice's prediction covers."""
        parts = zip(self.start(index), self.cut.sizes, self.extent, strict=True)
        return tuple(slice(at, min(at + size, length)) for at, size, length in parts)

    def pieces(self, index: int) -> Iterator[tuple[Region, bool]]:
        """Yield boxes of a slice's region, relative to its start; the flag tells that no earlier slice covers the box."""
        region = self.region(index)
        rest = [slice(0, part.stop - part.start) for part in region]
        for axis, (at, size, stride) in enumerate(
            zip(self.start(index), self.cut.sizes, self.cut.strides, strict=True)
        ):
            old = min(size - stride, rest[axis].stop) if at else 0
            if old > 0:
                yield (*rest[:axis], slice(0, old), *rest[axis + 1 :]), False
                rest[axis] = slice(old, rest[axis].stop)
        yield tuple(rest), True

    def shares(self, region: Region) -> list[Floats]:
        """Return the weights of a prediction in a region: one factor to multiply per axis along which slices overlap."""
        factors = []
        for axis, (over, part) in enumerate(zip(self.coverage, region, strict=True)):
            if (over[part] > 1).any():
                shape = [-1 if axis == other else 1 for other in range(len(region))]
                factors.append((1.0 / over[part]).astype(np.float32).reshape(shape))
        return factors


def require_cuttable(grid: Grid, place: str, *, joined: bool = True) -> None:
    """Require that a volume has slices and, if predictions are assembled, that they cover it.

    Args:
        grid: The slices.
        place: The configuration key of the set, for error messages.
        joined: Whether predictions are assembled.

    Raises:
        ConfigError: If it has none, or they do not cover it.
    """
    if not len(grid):
        fix = "use smaller sizes, or discard_remainders=false"
        wrong = f"no whole slice fits into {list(grid.shape)}"
        raise ConfigError(problem(f"{place}.sizes", wrong, got=list(grid.cut.sizes), fix=fix))
    if joined and grid.has_gaps:
        fix = "give no stride above its size where predictions are joined"
        raise ConfigError(problem(f"{place}.strides", "leaves gaps", got=list(grid.cut.strides), fix=fix))


def cut(volume: Cuttable, grid: Grid, index: int, out: Floats | None = None) -> Floats:
    """Return one slice as input for the network; nothing else of the volume is read.

    Args:
        volume: Shape (channels, *grid.shape), or grid.shape for one channel.
        grid: All slices.
        index: The slice's number.
        out: The array to write to, shape (channels, *grid.cut.seen); None: a new float32 array.
    """
    sizes = grid.cut.sizes
    has_channels = len(volume.shape) > len(sizes)
    if out is None:
        out = np.empty((volume.shape[0] if has_channels else 1, *grid.cut.seen), np.float32)
    view, read, put, is_whole = grid.cut.inside(out), list[Any](), list[Any](), True
    for axis, at in enumerate(grid.start(index)):
        before, after, length = grid.cut.before[axis], grid.cut.after[axis], grid.shape[axis]
        # With margin=data the padding is read from the volume as far as it reaches; the rest stays zero.
        around = (before, after) if grid.cut.margin == "data" else (0, 0)
        low, high = max(at - around[0], 0), min(at + sizes[axis] + around[1], length)
        first = at - before
        read.append(slice(low, max(high, low)))
        put.append(slice(low - first, max(high, low) - first))
        is_whole = is_whole and low == first and high == at + sizes[axis] + after
    if not is_whole:
        out[...] = 0
    if has_channels:
        view[(slice(None), *put)] = volume[(slice(None), *read)]
    else:
        view[(0, *put)] = volume[tuple(read)]
    return out


def counted(grid: Grid, index: int, prediction: Floats) -> tuple[Region, Floats]:
    """Return a prediction's region in the volume, and a view of the part that counts: without padding, transposed back.

    Args:
        grid: All slices.
        index: The slice's number.
        prediction: Shape (channels, *grid.cut.seen).

    Returns:
        The region, and values of shape (channels, *region).
    """
    region = grid.region(index)
    inside: list[Any] = [
        slice(before, before + part.stop - part.start) for before, part in zip(grid.cut.before, region, strict=True)
    ]
    return region, grid.cut.inside(prediction)[(slice(None), *inside)]


def put(joined: Floats, grid: Grid, index: int, prediction: Floats) -> None:
    """Add a prediction to the assembled array; where slices overlap, each adds its share of the mean.

    Args:
        joined: Shape (channels, *grid.extent); changed in place.
        grid: All slices.
        index: The slice's number; each once and in order, because the first writer of a place does not read it.
        prediction: Shape (channels, *grid.cut.seen).

    Raises:
        FloatingPointError: If a value is too large for the dtype of `joined`.
    """
    region, values = counted(grid, index, prediction)
    place = joined[(slice(None), *region)]
    with np.errstate(over="raise"):
        if not grid.overlaps:
            place[...] = values
            return
        # A slice is divided into pieces that it is the first to write, and pieces that earlier slices wrote. Each place gets
        # the prediction times its share (one over the number of slices there), as one factor per axis with overlaps, so that
        # it holds the mean after the last slice. This needs no second array of counts, and the first writer reads nothing:
        # the file of a large volume need not be filled with zeros first.
        shares = grid.shares(region)
        for piece, is_first in grid.pieces(index):
            added, target = values[(slice(None), *piece)], place[(slice(None), *piece)]
            own = [share[tuple(part if size > 1 else slice(None) for part, size in zip(piece, share.shape, strict=True))]
                   for share in shares]  # fmt: skip
            for number, share in enumerate(own):
                is_last = is_first and number == len(own) - 1
                added = np.multiply(added, share, out=target if is_last else added if number else None)
            if not is_first:
                target += added
            elif not own:
                target[...] = added


@dataclass(frozen=True)
class Cuts:
    """All slices of a part, numbered through its sets.

    Attributes:
        part: `train` or `test`.
        sets: The slice sets.
        shape: The volume's spatial shape.
    """

    part: str
    sets: Sequence[SliceSet]
    shape: tuple[int, ...]

    @cached_property
    def grids(self) -> list[Grid]:
        """Return the slices of each set."""
        return [Grid(member, self.shape) for member in self.sets]

    @cached_property
    def places(self) -> dict[str, tuple[Grid, int]]:
        """Return the grid and the slice number of every sample by its id, such as `train/yz/00017`."""
        places = dict[str, tuple[Grid, int]]()
        for grid in self.grids:
            digits = max(5, len(str(len(grid) - 1)))
            places |= {f"{self.part}/{grid.cut.name}/{at:0{digits}}": (grid, at) for at in range(len(grid))}
        return places


def assemble(grid: Grid, predictions: Iterable[Floats]) -> npt.NDArray[np.float32]:
    """Assemble predictions of all slices, in order, into an array of shape (channels, *grid.extent), averaging overlaps."""
    joined: npt.NDArray[np.float32] | None = None
    for index, prediction in enumerate(predictions):
        if joined is None:
            joined = np.zeros((len(prediction), *grid.extent), np.float32)
        put(joined, grid, index, prediction)
    assert joined is not None
    return joined
