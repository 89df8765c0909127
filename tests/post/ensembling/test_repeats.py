"""Folds of a repeated cross-validation are told by the images that they hold out."""

from __future__ import annotations

from mlpipe.post.ensembling import repeats


def test_a_repeat_begins_where_an_image_comes_again() -> None:
    assert repeats.repeat_numbers([]) == []
    assert repeats.repeat_numbers([["a"], ["b"], ["c"]]) == [0, 0, 0]
    assert repeats.repeat_numbers([["a", "b"], ["c"], ["b", "c"], ["a"]]) == [0, 0, 1, 1]


def test_repeats_are_whole_where_each_holds_out_the_same_images() -> None:
    assert repeats.are_whole([["a"], ["b"]])
    assert repeats.are_whole([["a", "b"], ["c"], ["b", "c"], ["a"]])
    assert not repeats.are_whole([["a", "b"], ["c"], ["b", "c"]])
    assert not repeats.are_whole([["a", "b"], ["b", "c"]])


def test_parts_of_each_repeat() -> None:
    assert repeats.groups_by_repeat("abcd", [["1"], ["2"], ["1"], ["2"]]) == [["a", "b"], ["c", "d"]]
    assert repeats.groups_by_repeat("ab", [["1", "2"], ["2", "3"]]) == [["a", "b"]]
