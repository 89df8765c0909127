"""Sentences for users: numbers with their nouns."""

from __future__ import annotations

from mlpipe.errors import counted


def test_a_number_has_its_noun_in_the_singular_for_one_alone() -> None:
    assert [counted(many, "image") for many in (0, 1, 2, 11)] == ["0 images", "1 image", "2 images", "11 images"]


def test_a_verb_goes_with_its_number() -> None:
    told = [counted(many, "image is", "images are") for many in (1, 2)]
    assert told == ["1 image is", "2 images are"]


def test_a_plural_of_its_own_is_named() -> None:
    assert counted(2, "class", "classes") == "2 classes" and counted(1, "class", "classes") == "1 class"
