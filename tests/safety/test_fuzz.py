"""Whatever a configuration says: it composes, or every sentence says what is wrong; never anything else.

`FUZZED=10000 pytest -n 2 -m slow tests/safety/test_fuzz.py` tries that many through the whole command line.
"""

from __future__ import annotations

import functools
import io
import os
from contextlib import redirect_stderr, redirect_stdout

import pytest
import yaml
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st

from mlpipe.cli import main
from mlpipe.config import assemble, catalog, compose, overrides, resolve
from mlpipe.errors import MlpipeError
from mlpipe.files import plain_yaml

MODES = ("train", "create", "pp", "post", "info", "clean", "predict")
HOSTILE = (
    "", "null", "nan", "-inf", "1e999", "-1", "0", "99999999999999999999", "true", "[]", "{}", "[[]]", "{a: 1}", "???",
    "../../etc", "/etc/passwd", "os.system", "${oc.env:HOME}", "${x}", "${proj}", "a b", "'", '"', "\\", "[1,", "(", "=",
    "a=b", "\x1b[31m", "\u202e", "é", "\udcff", "~", "+", "@", "#1", "a" * 300, "choice(1,2)", "interval(0,1)", "1,2",
)  # fmt: skip


@functools.cache
def keys() -> tuple[str, ...]:
    """Every key of the files of options, and of the whole."""
    found = ["seed", "proj", "out_dir", "data_dir", "task_list", "tags", "trust", "time_limit", "continue", "recipe"]
    for group in catalog.groups():
        for option in catalog.options(group):
            content = yaml.safe_load(catalog.option_text(group, option)) or {}
            found += [f"{group}.{key}" for key in content if key != "defaults"]
    return tuple(sorted(set(found)))


def choices() -> st.SearchStrategy[str]:
    """An option of a group, right or wrong."""
    groups = [group for group in catalog.groups() if group != "mode"]
    return st.sampled_from(groups).flatmap(
        lambda group: st.sampled_from([*catalog.options(group), *HOSTILE]).map(lambda option: f"{group}={option}")
    )


def values() -> st.SearchStrategy[str]:
    """A value: hostile, a number, a word, or any text."""
    return st.one_of(
        st.sampled_from(HOSTILE),
        st.integers().map(str),
        st.floats().map(str),
        st.text(max_size=12),
        st.lists(st.sampled_from(HOSTILE), max_size=3).map(lambda items: f"[{','.join(items)}]"),
    )


def assignments() -> st.SearchStrategy[str]:
    """A key with a value; some keys that nobody knows."""
    prefix = st.sampled_from(["", "", "", "", "+", "++", "~"])
    key = st.one_of(st.sampled_from(keys()), st.text(max_size=8), st.sampled_from(keys()).map(lambda one: f"{one}.x"))
    return st.tuples(prefix, key, values()).map(lambda parts: f"{parts[0]}{parts[1]}={parts[2]}")


def lines() -> st.SearchStrategy[list[str]]:
    """A command line without its mode."""
    return st.lists(st.one_of(choices(), assignments()), max_size=5)


def check(mode: str, texts: list[str]) -> None:
    """Compose, and refuse anything but a configuration or sentences."""
    try:
        compose.compose(mode, texts, compose.Facts(lambda: ("resnet18",)))
    except MlpipeError as error:
        assert error.exit_code == 2
        assert str(error) and str(error).replace("\n", "").isprintable()


QUICK = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@settings(QUICK, max_examples=20)
@given(st.sampled_from(MODES), lines())
def test_a_configuration_composes_or_is_refused_with_sentences(mode: str, texts: list[str]) -> None:
    check(mode, texts)


@QUICK
@given(assignments())
@example("=1")
@example("a=" + "[" * 5000)
@example("a=" + "9" * 5000)
def test_an_override_is_read_or_refused_with_a_sentence(text: str) -> None:
    changes, found = overrides.parse([text])
    assert len(changes) + len(found) == 1
    assert all(sentence.isprintable() for sentence in found)


@QUICK
@given(st.text(max_size=60))
@example("&a [*a]")
@example("!!python/object/apply:os.system [id]")
def test_yaml_is_plain_data_or_a_value_error(text: str) -> None:
    try:
        plain_yaml(text)
    except ValueError:
        return


PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(HOSTILE)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)


@QUICK
@given(st.dictionaries(st.text(max_size=6), PLAIN, max_size=4))
def test_interpolations_are_resolved_or_refused(tree: dict[str, object]) -> None:
    try:
        resolve.interpolated(tree)
    except MlpipeError as error:
        assert error.exit_code == 2


@functools.cache
def whole() -> dict[str, object]:
    """A composed configuration as plain data."""
    return compose.compose("train", ["task=digits"], compose.Facts(lambda: ("resnet18",))).tree


@settings(QUICK, max_examples=100)
@given(st.data())
def test_a_stored_configuration_with_another_value_is_taken_or_refused(data: st.DataObject) -> None:
    tree = {key: dict(value) if isinstance(value, dict) else value for key, value in whole().items()}
    section = data.draw(st.sampled_from(sorted(tree)))
    node = tree[section]
    if isinstance(node, dict) and node and data.draw(st.booleans()):
        node[data.draw(st.sampled_from(sorted(node)))] = data.draw(PLAIN)
    else:
        tree[section] = data.draw(PLAIN)
    try:
        assemble.assemble(tree)
    except MlpipeError as error:
        assert error.exit_code == 2


PART = 500


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(-(-int(os.environ.get("FUZZED", PART)) // PART)))
def test_a_command_line_is_planned_or_refused(part: int) -> None:
    @seed(part)
    @settings(QUICK, max_examples=PART)
    @given(st.sampled_from(MODES), lines())
    def plan(mode: str, texts: list[str]) -> None:
        out, error = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(error):
            code = main([mode, "task=digits", *texts, "--dry-run"])
        assert code in (0, 2), error.getvalue()
        assert "Traceback" not in error.getvalue()

    plan()
