"""Every `key=value` that a sentence of the program names is a key, and every `group=option` an option."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mlpipe import files
from mlpipe.config import catalog, compose, signatures
from mlpipe.errors import ConfigError

PACKAGE = Path(catalog.__file__).parents[1]
# Of other programs' files, whose own keys are what their sentences are about.
_FOREIGN = ("dialects", "layouts")
_NAMED = re.compile(r"(?<![\w./\[{$-])([a-z_]+(?:\.[a-z_0-9]+)*)=([^\s;,()'\"]*)")
_HOLE = "\0"


def literals(source: str) -> Iterator[str]:
    """The texts of a module without its docstrings; what is filled in later is a hole."""
    tree = ast.parse(source)
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            first = node.body[0]
            assert isinstance(first, ast.Expr)
            inside.add(id(first.value))
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield "".join(part.value if isinstance(part, ast.Constant) else _HOLE for part in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


@cache
def named() -> list[tuple[str, str, str]]:
    """File, key and value of everything that looks like an override."""
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        if not set(_FOREIGN) & set(path.parts):
            for text in literals(path.read_text("utf-8")):
                found |= {(file, key, value) for key, value in _NAMED.findall(text)}
    return sorted(found)


def leaves(node: Any, above: str) -> Iterator[str]:
    """Every key below a node, those of the signatures of its components too."""
    if isinstance(node, list):
        for item in node:
            yield from leaves(item, above)
    if not isinstance(node, dict):
        return
    signature = signatures.read(node["_target_"]) if isinstance(node.get("_target_"), str) else None
    for name in signature.parameters if signature else ():
        yield f"{above}.{name}"
    for name, value in node.items():
        key = f"{above}.{name}" if above else str(name)
        yield key
        yield from leaves(value, key)


@cache
def known() -> dict[str, tuple[str, str]]:
    """All keys, each with a group and an option that have it; those of the root have none."""
    found = dict.fromkeys(leaves(files.read_yaml(catalog.conf_dir() / "config.yaml"), ""), ("", ""))
    for group in catalog.groups():
        found[group] = ("", "")
        for option in catalog.options(group):
            text = catalog.option_text(group, option)
            above = "" if "@package _global_" in text else group
            for key in leaves(files.plain_yaml(text) or {}, above):
                found.setdefault(key, (group, option))
    found |= {f"cbs{key.removeprefix('callbacks')}": one for key, one in found.items() if key.startswith("callbacks")}
    trainer = signatures.read("pytorch_lightning.trainer.trainer.Trainer")
    assert trainer is not None
    return found | {f"trainer.{name}": ("trainer", "default") for name in trainer.parameters}


def problems(file: str, key: str, value: str) -> str:
    """What is wrong with one, empty where nothing is."""
    group = key.split(".")[0]
    section = group in {*catalog.groups(), "cbs"}
    if "." in key and (section or group in known()):
        return "" if key in known() or key.startswith(("given.", "hydra.")) else f"{file}: there is no key {key}"
    if section and "." not in key and re.fullmatch(r"[a-z_0-9]+", value):
        options = catalog.options("callbacks" if group == "cbs" else group)
        if value not in options and group not in ("task", "arch"):
            return f"{file}: {key} has no option {value}"
    return ""


def test_every_key_that_a_sentence_names_is_there() -> None:
    assert [wrong for one in named() if (wrong := problems(*one))] == []


@pytest.mark.program
def test_every_key_that_a_sentence_names_composes() -> None:
    by_option: dict[tuple[str, str], set[str]] = {}
    for _, key, _ in named():
        if "." in key and key in known() and key.split(".")[0] not in ("recommend", "defaults"):
            by_option.setdefault(known()[key], set()).add(key)
    wrong = []
    for (group, option), keys in by_option.items():
        mode = option if group == "mode" else "train"
        texts = [f"{group}={option}"] if group not in ("", "mode") else []
        wrong += [one for one in said(mode, [*texts, *(f"{key}=null" for key in sorted(keys))]) if "unknown key" in one]
    assert wrong == []


def said(mode: str, texts: list[str]) -> tuple[str, ...]:
    """What composing some overrides says against them; values are not looked at here."""
    try:
        compose.compose(mode, texts, compose.Facts(lambda: []))
    except ConfigError as error:
        return error.problems
    return ()


def test_there_is_something_to_look_at() -> None:
    keys = {key for _, key, _ in named()}
    assert len(keys) > 100 and {"split.folds", "task.max_unreadable", "mode.folds", "loss", "cbs"} <= keys


@pytest.mark.parametrize(
    ("key", "value", "is_there"),
    [
        ("mode.calibration", "none", False),
        ("mode.calibrator", "none", True),
        ("split.folds", _HOLE, True),
        ("splits.folds", "2", True),
        ("split.fold", "2", False),
        ("cbs.early.patience", "5", True),
        ("cbs", "earlystop", False),
        ("loss", "focal", True),
        ("loss", "crossentropy", False),
        ("trainer.precision", "32", True),
        ("optimizer.lr", _HOLE, True),
    ],
)
def test_a_wrong_name_is_seen(key: str, value: str, is_there: bool) -> None:
    assert (problems("x.py", key, value) == "") is is_there
