"""Overrides that are read before anything is composed."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlpipe.config.overrides import expand, key_of, option_of, parse, plain, quoted, value_of
from mlpipe.errors import ConfigError


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


@pytest.mark.parametrize(
    "text", ["", "it's", "'", "a\\b", "a\\\\b", "end\\", "\\'", "a b, [c], {d}=e", '"', " a ", "null", "1e3", "a\nb"]
)
def test_a_text_in_quotes_is_read_as_it_is(text: str) -> None:
    (change,), problems = parse([f"proj={quoted(text)}"])
    assert (change.value, problems) == (text, [])


def test_keys_and_their_aliases() -> None:
    assert key_of("++cbs.early.patience=5") == "cbs.early.patience" and key_of("~task") == "task"
    assert option_of("cbs.early.patience=5") == "callbacks.early.patience" and option_of("task=x") == "task"


WORDS = st.sampled_from(
    [
        *(
            "1",
            "0",
            "-3",
            "+7",
            "1_000",
            "007",
            "1.5",
            "1.",
            ".5",
            "1e-3",
            "-1E+5",
            "1_0.5e1_0",
            "1.e3",
            "inf",
            "-inf",
            "nAn",
        ),
        *(
            "1.2.3",
            "1e5x",
            "10m",
            "true",
            "False",
            "tRUE",
            "truer",
            "null",
            "NULL",
            "a",
            "resnet18.a1_in1k",
            "a-b",
            "-",
            "+",
        ),
        *(
            ":",
            "a:b",
            "???",
            "a|b",
            "*",
            "a@b",
            "50%",
            "/tmp/x.npz",
            "_",
            "1__0",
            "0_1",
            "e5",
            "'a b'",
            '"1"',
            "''",
            "'x,y'",
        ),
        *(
            "'[1]'",
            "~/x",
            "a=b",
            "a\\,b",
            "${seed}",
            "a b",
            " a",
            "a ",
            "",
            "f(x)",
            "choice(a,b)",
            "[1]",
            "{a:1}",
            "'",
            "a'b'",
        ),
        *("$x", "é", "x#1", "interval(0,1)", "+nan"),
    ]
)
BLANK = st.sampled_from(["", "", " ", "\t "])
LISTS = st.tuples(BLANK, st.lists(st.tuples(WORDS, BLANK).map("".join), max_size=3), BLANK).map(
    lambda one: f"[{one[0]}{f',{one[2]}'.join(one[1])}]"
)
LETTERS = st.text("""a1.0-+e_'"[], :/=$~?""", max_size=8)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(["", "+", "++", "~", "+++"]),
    st.sampled_from(
        ["seed", "optimizer.lr", "a.0.b", "a-b", "a.01", "a..b", ".a", "a/b", "a@b", "$a", "1a", "a.b-c.$d", "a.10"]
    ),
    st.one_of(WORDS, LISTS, LETTERS),
)
@example("", "seed", "a,b")
@example("", "seed", "[a,]")
@example("", "seed", "[,]")
@example("", "seed", "9" * 5000)
def test_what_is_read_without_the_grammar_is_what_the_grammar_reads(prefix: str, key: str, value: str) -> None:
    text = f"{prefix}{key}={value}"
    found = plain(text)
    if found is None:
        return
    try:
        expected = OverridesParser.create().parse_override(text)
    except HydraException:
        pytest.fail(f"the grammar refuses {text}")
    assert not expected.is_sweep_override() and not expected.is_delete()
    assert (found.key, repr(found.value), found.text) == (expected.key_or_group, repr(expected.value()), text)


@pytest.mark.parametrize(
    "text",
    ["seed=1", "optimizer.lr=1e-3", "task=digits", "mode.folds=[0, 1]", "cbs=[early,swa]", "proj='a b'", "++a.b=true", "x=[]"],
)  # fmt: skip
def test_most_of_what_is_typed_needs_no_grammar(text: str) -> None:
    assert plain(text) is not None


def test_an_alias_is_replaced() -> None:
    found = plain("++cbs.early.patience=5")
    assert found is not None and (found.key, found.text) == ("callbacks.early.patience", "++callbacks.early.patience=5")


def test_a_sweep_makes_a_bounded_number_of_runs() -> None:
    assert len(expand(["seed=range(0,10000)"])) == 10_000
    assert expand(["seed=range(4,0,-2)", "x=1,2"]) == [
        ["seed=4", "x=1"], ["seed=4", "x=2"], ["seed=2", "x=1"], ["seed=2", "x=2"]
    ]  # fmt: skip
    with pytest.raises(
        ConfigError, match=r"^seed: makes 1,000,000,000,000 runs, got 'range\(0,1000000000000\)'; at most 10,000"
    ):
        expand(["seed=range(0,1000000000000)"])
    with pytest.raises(ConfigError, match="seed: makes 1,000,000,000,000 runs"):
        expand(["seed=shuffle(range(0,1000000000000))"])
    with pytest.raises(ConfigError, match="--multirun: makes 1,000,000 runs; at most 10,000"):
        expand(["seed=range(0,1000)", "split.seed=range(0.0,1000.0)"])


@pytest.mark.parametrize("text", ["range(0,inf)", "range(0,nan)", "range(0,5,0)", "range(0.0,1.0,1e-320)"])
def test_a_range_whose_ends_or_step_say_no_number_makes_runs_without_end(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^seed: makes runs without end, got '.*'; at most 10,000 are run"):
        expand([f"seed={text}"])


def test_a_pattern_of_options_is_told_to_be_listed() -> None:
    with pytest.raises(ConfigError, match=r"arch: is a pattern of options, which are not looked up, got 'glob\(u\*\)'"):
        expand(["arch=glob(u*)"])


def test_a_range_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer.lr: has no value to run, got 'range\(1,0\)'"):
        expand(["optimizer.lr=range(1,0)"])
