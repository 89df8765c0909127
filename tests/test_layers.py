"""Imports go strictly downward; what must stay light stays light."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mlpipe"
LEVELS = {
    "errors": 0,
    "files": 1,
    "formulas": 1,
    "hdf5": 1,
    "names": 1,
    "config": 2,
    "runs": 2,
    "data": 3,
    "arch": 3,
    "post": 3.25,
    "learn": 4,
    "reports": 4,
    "predicting": 5,
    "running": 6,
    "modes": 7,
    "dialects": 8,
    "cli": 9,
    "api": 9,
}
# Upward imports that are still to be turned round.
PENDING = {
    ("modes/evaluate.py", "mlpipe.dialects"),
    ("modes/train.py", "mlpipe.dialects"),
    ("modes/upgrade.py", "mlpipe.dialects"),
    ("running/fold_training.py", "mlpipe.dialects"),
    ("running/launch.py", "mlpipe.dialects"),
    ("running/search.py", "mlpipe.dialects"),
    ("running/volume_slices.py", "mlpipe.dialects"),
    ("running/presets.py", "mlpipe.modes"),
}
FORBIDDEN = {
    "runs": ("torch", "timm", "pytorch_lightning"),
    "reports": ("torch", "timm", "pytorch_lightning"),
    "post": ("torch", "timm", "pytorch_lightning"),
    "data": ("mlpipe.config", "mlpipe.runs"),
    "arch": ("mlpipe.config", "mlpipe.runs"),
}
MODULES = {
    path.relative_to(PACKAGE.parent).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(source: str) -> Iterator[str]:
    """Full names that a source imports, anywhere in it; `from a import b` is both a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(file: str, source: str) -> list[str]:
    """What a file of the package imports against the rules."""
    own = file.split("/")[1].removesuffix(".py")
    found = []
    for name in imported(source):
        parts = name.split(".")
        if parts[0] == "mlpipe" and len(parts) > 1 and parts[1] in LEVELS and own in LEVELS:
            upward = LEVELS[parts[1]] >= LEVELS[own] and parts[1] != own
            upward = upward and (file.removeprefix("mlpipe/"), f"mlpipe.{parts[1]}") not in PENDING
            found += [f"{file} -> {name}"] if upward else []
        if parts[0] in ("hydra", "omegaconf") and own != "config":
            found.append(f"{file} -> {name}")
        for forbidden in FORBIDDEN.get(own, ()):
            found += [f"{file} -> {name}"] if name == forbidden or name.startswith(f"{forbidden}.") else []
    return found


@pytest.mark.parametrize("file", MODULES)
def test_imports_go_down(file: str) -> None:
    assert violations(file, MODULES[file]) == []


def test_every_module_has_a_level() -> None:
    tops = {file.split("/")[1].removesuffix(".py") for file in MODULES} - {"__init__"}
    assert tops <= set(LEVELS)


@pytest.mark.parametrize("package", sorted(set(LEVELS) - {"errors", "files", "cli"}))
def test_no_cycle_inside_a_package(package: str) -> None:
    inside = {
        file.removesuffix(".py").replace("/", "."): source
        for file, source in MODULES.items()
        if file.startswith(f"mlpipe/{package}/")
    }
    graph = {
        name: {other for other in imported_at_the_top(source) if other in inside and other != name}
        for name, source in inside.items()
    }
    while leaves := [name for name, needs in graph.items() if not needs & set(graph)]:
        for name in leaves:
            del graph[name]
    assert not graph


def imported_at_the_top(source: str) -> set[str]:
    """Names that a module imports when it is imported itself."""
    top = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {name for node in top for name in imported(ast.unparse(node))}


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("mlpipe/data/x.py", "from mlpipe.learn import fit"),
        ("mlpipe/data/x.py", "def f():\n    import mlpipe.arch.weights"),
        ("mlpipe/arch/x.py", "from mlpipe import config"),
        ("mlpipe/modes/x.py", "import omegaconf"),
        ("mlpipe/runs/x.py", "import torch.nn"),
        ("mlpipe/errors.py", "from mlpipe import files"),
    ],
)
def test_a_violation_is_seen(file: str, source: str) -> None:
    assert violations(file, source)
