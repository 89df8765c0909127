"""Pixel format of a task's images: grey or colour, 8 or 16 bit, and the rule for values that files do not define."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlpipe.data.decoding.value_rules import Background, Decoding
from mlpipe.data.sources.listings import file_headers
from mlpipe.data.sources.listings.file_headers import Look
from mlpipe.data.task import Dtype
from mlpipe.errors import DataError, counted, listing, problem

_MOST_SENTENCES = 10


@dataclass(frozen=True)
class PixelSettings:
    """The user's settings for images; each is the key of `folder` of that name.

    Attributes:
        channels: None: grey if every image is, else colour.
        bits: None: 16 if every image has 16 bits, else 8.
        value_range: None: the type of every image defines which value is white.
        background: The colour behind transparent pixels.
        key: The configuration key of `value_range`, for error messages.
    """

    channels: int | None = None
    bits: int | None = None
    value_range: Sequence[float] | None = None
    background: Background = "white"
    key: str = "task.value_range"


@dataclass(frozen=True)
class PixelFormat:
    """Pixel format of all images of a task.

    Attributes:
        channels: The number of channels.
        dtype: The dtype of values.
        decoding: The rule for values that files do not define.
        notes: Notes for the user.
    """

    channels: int
    dtype: Dtype
    decoding: Decoding
    notes: list[str] = field(default_factory=list)

    @property
    def source(self) -> dict[str, Any]:
        """Return the format as keys of a task's source."""
        return self.decoding.as_plain()


def format_of(paths: Sequence[Path], looks: Sequence[Look], settings: PixelSettings) -> PixelFormat:
    """Return the pixel format of images by their headers and the user's settings.

    Args:
        paths: The files.
        looks: The facts about each file.
        settings: The user's settings.

    Raises:
        DataError: If values need a range and none is given, or lie outside of it.
    """
    value_range = _range_of(settings)
    open_ones = [(path, look) for path, look in zip(paths, looks, strict=True) if look.open_range]
    if wrong := _range_problems(open_ones, value_range, settings.key):
        raise DataError(wrong)
    channels = settings.channels or file_headers.channels_of(looks)
    bits = settings.bits or (16 if open_ones else file_headers.bits_of(looks))
    transparent = sum(look.is_transparent for look in looks) if channels != 4 else 0
    notes = []
    if transparent:
        hint = "task.channels=4 keeps them, task.background says what lies behind"
        have = counted(transparent, "image has", "images have")
        notes.append(f"{have} transparent places, laid over {settings.background}; {hint}")
    if value_range is not None:
        notes.append(f"values from {value_range[0]:g} to {value_range[1]:g} are black to white in every image")
    is_ruled = bool(transparent) or any(look.is_respread for look in looks) or settings.background != "white"
    decoding = Decoding(value_range, settings.background, is_ruled or value_range is not None)
    return PixelFormat(channels, "uint16" if bits == 16 else "uint8", decoding, notes)


def _range_of(settings: PixelSettings) -> tuple[float, float] | None:
    if settings.value_range is None:
        return None
    low, high = (float(value) for value in settings.value_range)
    if not low < high:
        raise DataError(problem(settings.key, "must grow", got=[low, high], fix="for example [0.0,255.0]"))
    return low, high


def _range_problems(
    open_ones: Sequence[tuple[Path, Look]], value_range: tuple[float, float] | None, key: str
) -> list[str]:
    """Return a sentence if a range is needed and missing, or for each of the first files with values outside of it."""
    if not open_ones:
        return []
    odd = [path for path, look in open_ones if look.extent[0] != look.extent[0]]
    wrong = [problem(str(path), "has values that are no numbers (NaN or infinite)", fix="replace them") for path in odd]
    known = [(path, look) for path, look in open_ones if look.extent[0] == look.extent[0]]
    least = min((look.extent[0] for _, look in known), default=0.0)
    most = max((look.extent[1] for _, look in known), default=1.0)
    if value_range is None:
        kinds = listing(sorted({look.open_range for _, look in open_ones}))
        names = listing([path.name for path, _ in open_ones], most=3)
        have = counted(len(open_ones), "image has", "images have")
        fault = f"is needed: {have} {kinds} values ({names}), from {least:g} to {most:g}"
        ends = f"[{_lower_bound_text(least)},{_upper_bound_text(most)}]"
        fix = f"say which values are black and white in all images, for example {key}={ends}"
        return [problem(key, fault, fix=fix), *wrong[:_MOST_SENTENCES]]
    low, high = value_range
    beyond = [(path, look) for path, look in known if not low <= look.extent[0] <= look.extent[1] <= high]
    ends = f"[{_lower_bound_text(min(low, least))},{_upper_bound_text(max(high, most))}]"
    fix = f"widen it, {key}={ends} holds all, or leave them out"
    wrong += [
        problem(str(path), f"has values from {look.extent[0]:g} to {look.extent[1]:g}, outside {key}",
                got=[low, high], fix=fix)
        for path, look in beyond
    ]  # fmt: skip
    more = len(wrong) - _MOST_SENTENCES
    return [*wrong[:_MOST_SENTENCES], *([f"and {more} more such images"] if more > 0 else [])]


def _lower_bound_text(value: float) -> str:
    """Return the shortest text of a number that is not above the value."""
    return short if float(short := f"{value:g}") <= value else repr(value)


def _upper_bound_text(value: float) -> str:
    """Return the shortest text of a number that is not below the value."""
    return short if float(short := f"{value:g}") >= value else repr(value)
