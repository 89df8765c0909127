"""What other programs' words are answered with exists: every key, option and value."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from mlpipe.config import catalog, keys, synonyms
from mlpipe.config.near_values import squashed
from mlpipe.config.synonyms import Entry

# Keys of the command line that are no configuration.
COMMAND = {"continue", "recipe"}
OF_WORD = re.compile(r"(?<![\w.])([a-z_]+(?:\.[a-z_]+)*)=(\S*)")
# Options that only a value decides.
OPEN = ("arch",)


def templates(entry: Entry) -> Iterator[str]:
    yield from [entry] if isinstance(entry, str) else [template for _, template in entry]


def everything() -> list[tuple[str, str]]:
    """(where it stands, what to write) of all tables."""
    found = [(word, text) for word, entry in {**synonyms.KEYS, **synonyms.WHOLE}.items() for text in templates(entry)]
    for group, words in synonyms.OPTIONS.items():
        found += [(f"{group}={word}", meant if "=" in meant else f"{group}={meant}") for word, meant in words.items()]
    found += [(group, text) for group, entry in synonyms.OTHER_OPTIONS.items() for text in templates(entry)]
    found += [(word, command) for word, command in synonyms.MODES.items()]
    return found + list(synonyms.EXAMPLES.items())


def wrong(text: str) -> list[str]:
    """The words of a text whose key or option does not exist."""
    found = []
    for key, value in OF_WORD.findall("" if text.startswith("leave") or "=leave" in text else text):
        head = key.partition(".")[0]
        option = value.strip(",'\":;")
        if "." in key or key not in [*catalog.groups(), *catalog.ALIASES]:
            exists = key in COMMAND or keys.find(key) is not None
        elif "{" in option or head in OPEN or option.startswith("NAME"):
            exists = True
        else:
            exists = option in catalog.options(catalog.ALIASES.get(key, key))
        # A name of a user's own: a callback's parts are those of its option.
        found += [] if exists else [f"{key}={value}"]
    return found


def test_every_key_and_option_that_is_told_exists() -> None:
    assert [(word, one) for word, text in everything() for one in wrong(text)] == []


def test_a_word_that_leads_nowhere_is_seen() -> None:
    assert wrong("trainer.epochs={} loss=crossentropy cbs.early.patience=3") == [
        "trainer.epochs={}",
        "loss=crossentropy",
    ]


def test_values_are_of_their_keys() -> None:
    known = {key: keys.find(key) for key in synonyms.VALUES}
    assert [key for key, one in known.items() if one is None] == []
    for key, words in synonyms.VALUES.items():
        allowed = known[key].values() if known[key] else ""
        listed = re.search(r"one of (.*)", allowed)
        options = {*re.split(r", | or ", listed[1])} if listed else set()
        lists_all = bool(options) and "and" not in allowed and not key.startswith("trainer.")
        for value in set(words.values()) - {"null", "true", "false", "auto"}:
            if "=" in value:
                # Words in place of the key.
                name = value.partition("=")[0]
                assert name in catalog.groups() or keys.find(name), (key, value)
                continue
            assert value.startswith("[") or not lists_all or value in options, (key, value, options)


def test_modes_exist() -> None:
    assert {command.split()[1] for command in synonyms.MODES.values()} <= {*catalog.options("mode")}


def test_no_word_stands_for_two_things() -> None:
    homes: dict[str, set[str]] = {}
    for home, (_, listed) in synonyms._SAME.items():
        for word in listed.split():
            homes.setdefault(squashed(word), set()).add(home)
    assert {word: found for word, found in homes.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", ["hpo", "loss", "lr_scheduler", "callbacks", "optimizer", "task", "preset"])
def test_a_groups_own_options_are_not_taken_for_others(name: str) -> None:
    own = {squashed(option): option for option in catalog.options(name)}
    told = {word: meant for word, meant in synonyms.OPTIONS[name].items() if squashed(word) in own}
    assert {word: meant for word, meant in told.items() if own[squashed(word)] != meant} == {}
