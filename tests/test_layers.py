"""Imports go strictly downward; what must stay light stays light."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mlpipe"
CONF = PACKAGE.parent / "conf"
LEVELS = {
    "errors": 0,
    "current_folder": 1,
    "files": 1,
    "formulas": 1,
    "hdf5": 1,
    "names": 1,
    "parquet": 1,
    "plugins": 1,
    "sqlite": 1,
    "kinds": 1,
    "lazy_imports": 0,
    "limits": 0,
    "stored": 1.5,
    "config": 2,
    "runs": 2,
    "data": 3,
    "arch": 3,
    "post": 3,
    "learn": 4,
    "reports": 4,
    "predicting": 5,
    "running": 6,
    "modes": 7,
    "dialects": 8,
    "command_line": 8,
    "cli": 9,
    "api": 9,
    "testing": 9,
}
# The parts of a kind stand half a level above the packages whose protocols they implement.
PARTS = {"words": 1, "data": 3.5, "post": 3.5, "learn": 4.5, "report": 4.5, "predict": 5.5}
LIGHT = ("words", "data", "post", "report")
# Upward imports that are still to be turned round.
PENDING = {}
# Other programs are named where their files are read, and where a person chooses them.
PAGE = re.compile(r"docs/from_\w+\.md")
DIALECTS = re.compile("musket|rmldnn|barrage", re.IGNORECASE)
MAY_NAME_DIALECTS = (
    "mlpipe/dialects/",
    "mlpipe/api/",
    "mlpipe/cli.py",
    "mlpipe/runs/formats.py",
    # A table of dotted paths.
    "mlpipe/names.py",
    "conf/mode/",
    "conf/console/",
    "conf/artifacts/",
)
# Packages whose modules import each other in a circle, inside functions, that is still to be cut.
CIRCLES: set[str] = set()
HEAVY = ("torch", "timm", "pytorch_lightning")
FORBIDDEN = {
    "runs": HEAVY,
    "reports": HEAVY,
    "post": HEAVY,
    "data": ("mlpipe.config", "mlpipe.runs"),
    "arch": ("mlpipe.config", "mlpipe.runs"),
}
KINDS = {entry.name for entry in (PACKAGE / "kinds").iterdir() if (entry / "__init__.py").is_file()}
MODULES = {
    path.relative_to(PACKAGE.parent).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))
}


NAMES = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in MODULES}


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def imported(source: str) -> Iterator[str]:
    """Full names that a source imports, anywhere in it; `from a import b` is both a and a.b."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def level(parts: list[str]) -> float | None:
    """The level of a dotted name below mlpipe; None: it has none, such as a name of the package itself."""
    if parts[0] == "kinds":
        return PARTS.get(parts[2], 1) if len(parts) > 2 else 1
    return LEVELS.get(parts[0])


def home(parts: list[str]) -> str:
    """The package of a dotted name below mlpipe, or the kind that it belongs to."""
    return f"kinds/{parts[1]}" if parts[0] == "kinds" and parts[1:2] and parts[1] in KINDS else parts[0]


def violations(file: str, source: str) -> list[str]:
    """What a file of the package imports against the rules."""
    place = file.removesuffix(".py").removesuffix("/__init__").split("/")[1:] or ["__init__"]
    own, here = home(place), level(place)
    is_light = own.startswith("kinds/") and place[-1] in LIGHT
    found = []
    for name in imported(source):
        parts = name.split(".")
        if parts[0] == "mlpipe" and len(parts) > 1 and here is not None:
            there, other = level(parts[1:]), home(parts[1:])
            # Nothing names a kind: its parts are taken by `kinds.part`.
            is_wrong = other != own and ((there is not None and there >= here) or other.startswith("kinds/"))
            is_pending = (file.removeprefix("mlpipe/"), f"mlpipe.{parts[1]}") in PENDING
            found += [f"{file} -> {name}"] if is_wrong and not is_pending else []
        if parts[0] in ("hydra", "omegaconf") and own != "config":
            found.append(f"{file} -> {name}")
        for forbidden in HEAVY if is_light else FORBIDDEN.get(own, ()):
            found += [f"{file} -> {name}"] if name == forbidden or name.startswith(f"{forbidden}.") else []
    return found


def test_imports_go_down() -> None:
    assert [wrong for file, source in MODULES.items() for wrong in violations(file, source)] == []


def test_nothing_else_names_another_program() -> None:
    options = {f"conf/{path.relative_to(CONF).as_posix()}": path.read_text("utf-8") for path in CONF.rglob("*.yaml")}
    texts = {file: text for file, text in (MODULES | options).items() if not file.startswith(MAY_NAME_DIALECTS)}
    assert [file for file, text in texts.items() if DIALECTS.search(PAGE.sub("", text))] == []


def test_every_module_has_a_level() -> None:
    tops = {file.split("/")[1].removesuffix(".py") for file in MODULES} - {"__init__"}
    assert tops <= set(LEVELS)


def needs(name: str, source: str) -> set[str]:
    """Modules of the package that a source imports, anywhere in it; a package is one where its own names are meant."""
    found = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {one if one in NAMES else node.module for one in full}
    return found & set(NAMES) - {name}


def test_no_circle_inside_a_package() -> None:
    graph = {name: needs(name, MODULES[file]) for name, file in NAMES.items()}
    graph = {name: {other for other in others if home_of(other) == home_of(name)} for name, others in graph.items()}
    # What nothing of a circle needs, and what needs nothing of it, goes; circles stay.
    while ends := [n for n in graph if not graph[n] & set(graph) or not any(n in others for others in graph.values())]:
        for name in ends:
            del graph[name]
    assert {home_of(name) for name in graph} <= CIRCLES, sorted(graph)


def home_of(name: str) -> str:
    return name.split(".")[1] if "." in name else name


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("mlpipe/data/x.py", "from mlpipe.learn import fit"),
        ("mlpipe/data/x.py", "def f():\n    import mlpipe.arch.weights"),
        ("mlpipe/arch/x.py", "from mlpipe import config"),
        ("mlpipe/modes/x.py", "import omegaconf"),
        ("mlpipe/runs/x.py", "import torch.nn"),
        ("mlpipe/errors.py", "from mlpipe import files"),
        ("mlpipe/learn/x.py", "from mlpipe.kinds.regression import learn"),
        ("mlpipe/kinds/images/post.py", "from mlpipe.kinds.regression import post"),
        ("mlpipe/kinds/images/post.py", "from mlpipe.learn import fit"),
        ("mlpipe/kinds/images/post.py", "import torch"),
    ],
)
def test_a_violation_is_seen(file: str, source: str) -> None:
    assert violations(file, source)
