"""Pages for those who change the program name files and code that are there, and the levels that imports are held to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.test_layers import LEVELS

TOP = Path(__file__).parents[2]
# Files that a reader of CONTRIBUTING writes.
EXAMPLES = {"conf/loss/squared.yaml", "conf/mode/count.yaml"}
PACKAGE = TOP / "mlpipe"
# A name of Lightning's on the road.
LIGHTNING = {"Trainer.fit"}
# Files of a project, which are not code.
ENDINGS = ("csv", "html", "json", "parquet", "py", "safetensors", "yaml")
PAGES = {name: (TOP / name).read_text("utf-8") for name in ("docs/architecture.md", "CONTRIBUTING.md")}


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    named = set(re.findall(r"`((?:mlpipe|conf|tests|scripts|docs)/[\w./]+)`", PAGES[page])) - EXAMPLES
    assert named and not sorted(one for one in named if "WORD" not in one and not (TOP / one).exists())


def test_the_levels_are_those_of_the_imports() -> None:
    (drawn,) = re.findall(r"^9 .*?^0 [^\n]*", PAGES["docs/architecture.md"], re.MULTILINE | re.DOTALL)
    for line in drawn.splitlines():
        level, *words = line.split()
        on_it = {name for name, own in LEVELS.items() if own == float(level.replace("½", ".5"))}
        assert on_it and set(words[: len(on_it)]) == on_it


def defined() -> set[str]:
    """Modules, functions, classes and methods of the package by every dotted end of their names."""
    names = []
    for file in PACKAGE.rglob("*.py"):
        module = file.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__").replace("/", ".")
        names.append(module)
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                inside = [one.name for one in getattr(node, "body", ()) if isinstance(one, ast.FunctionDef)]
                names += [f"{module}.{node.name}", *(f"{module}.{node.name}.{one}" for one in inside)]
    return {".".join(name.split(".")[start:]) for name in names for start in range(name.count(".") + 1)}


def test_code_on_the_drawn_roads_is_there() -> None:
    drawn = "\n".join(re.findall(r"^```\n(mml .*?)^```", PAGES["docs/architecture.md"], re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"\b[A-Za-z_]+(?:\.[A-Za-z_]+)+", drawn)) | set(re.findall(r"\b[A-Z]+[a-z]+[A-Z]\w+", drawn))
    named = {one for one in named if one.rpartition(".")[2] not in ENDINGS} - LIGHTNING
    assert len(named) > 20 and not sorted(named - defined())
    files = set(re.findall(r"\b[a-z]+/[\w/]+(?:\.py)?", drawn))
    files = {one for one in files if one.partition("/")[0] in LEVELS}
    assert files and not sorted(one for one in files if not (PACKAGE / one).exists())
