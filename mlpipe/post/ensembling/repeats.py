"""Repeats of a cross-validation: groups of folds that hold out each image once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

Of = TypeVar("Of")


def repeat_numbers(held_out: Sequence[Collection[str]]) -> list[int]:
    """Return the repeat of each fold, from 0: a new repeat begins with the first fold that holds out an image again.

    Args:
        held_out: The names of the images that each fold holds out, in the order of the folds.
    """
    numbers, used_names, number = list[int](), set[str](), 0
    for names in map(set, held_out):
        if used_names & names:
            number, used_names = number + 1, set()
        used_names |= names
        numbers.append(number)
    return numbers


def are_whole(held_out: Sequence[Collection[str]]) -> bool:
    """Return whether every repeat holds out the same images, each of them once; true for folds that share none.

    Args:
        held_out: As for `repeat_numbers`.
    """
    numbers = repeat_numbers(held_out)
    together: list[set[str]] = [set() for _ in range(max(numbers, default=-1) + 1)]
    for number, names in zip(numbers, held_out, strict=True):
        together[number] |= set(names)
    return all(names == together[0] for names in together)


def groups_by_repeat(parts: Sequence[Of], held_out: Sequence[Collection[str]]) -> list[list[Of]]:
    """Group the folds' parts by repeat; one group for folds that share images and are not repeats.

    Args:
        parts: One for each fold.
        held_out: As for `repeat_numbers`.
    """
    numbers = repeat_numbers(held_out) if are_whole(held_out) else [0] * len(held_out)
    groups: dict[int, list[Of]] = {}
    for number, part in zip(numbers, parts, strict=True):
        groups.setdefault(number, []).append(part)
    return list(groups.values())
