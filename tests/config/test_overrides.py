"""Overrides that are read before anything is composed."""

from __future__ import annotations

import pytest

from mlpipe.config.overrides import key_of, option_of, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("proj=first", "first"), ("+proj=first", "first"), ("proj='a b'", "a b"), ('proj="it\'s"', "it's"), ("proj=", None),
        ("proj=null", None), ("proj=007", "007"), ("proj=1e3", "1e3"), ("proj=yes#3", "yes#3"), ("proj=~/x", "~/x"),
        ("proj=a,b", "a,b"), ("project=x", None), ("proj='open", None),
    ],
)  # fmt: skip
def test_a_value_before_anything_is_composed(text: str, value: str | None) -> None:
    assert value_of("proj", [text]) == value


def test_the_last_value_counts() -> None:
    assert value_of("proj", ["proj=a", "seed=1", "proj=b"]) == "b"


def test_keys_and_their_aliases() -> None:
    assert key_of("++cbs.early.patience=5") == "cbs.early.patience" and key_of("~task") == "task"
    assert option_of("cbs.early.patience=5") == "callbacks.early.patience" and option_of("task=x") == "task"
