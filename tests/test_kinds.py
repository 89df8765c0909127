"""What varies by kind or by source is an object that is called: no name of one is compared outside its folder."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mlpipe import kinds
from mlpipe.errors import DataError

PACKAGE = Path(__file__).parents[1] / "mlpipe"
ALLOWED = ("kinds/", "data/sources/", "dialects/", "runs/formats.py")


def asked(source: str) -> Iterator[int]:
    """Lines that compare a name of a kind, have a mapping or a default with one, or ask for a source's type."""
    words = {*kinds.names(), "detection"} - {"images"}

    def named(node: ast.AST | None) -> bool:
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return any(named(one) for one in node.elts)
        return isinstance(node, ast.Constant) and node.value in words

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare | ast.Dict):
            parts = (node.left, *node.comparators) if isinstance(node, ast.Compare) else node.keys
            # Batches have images, and so have many mappings: of that name only comparisons with a kind count.
            is_kind = isinstance(node, ast.Compare) and ast.unparse(node.left).endswith("kind")
            if any(named(one) for one in parts) or (is_kind and "'images'" in ast.unparse(node)):
                yield node.lineno
        elif isinstance(node, ast.MatchValue) and named(node.value):
            yield node.value.lineno
        elif isinstance(node, ast.arguments) and any(named(one) for one in (*node.defaults, *node.kw_defaults)):
            yield node.args[0].lineno if node.args else node.kwonlyargs[0].lineno
        elif isinstance(node, ast.AnnAssign | ast.Subscript) and (
            named(node.value) or ast.unparse(node).endswith("source['type']")
        ):
            yield node.lineno


@pytest.mark.parametrize(
    "source",
    [
        "task.kind == 'regression'",
        "kind in ('regression', 'segmentation')",
        "task.kind == 'images'",
        "x = {'multilabel': 1}",
        "match kind:\n    case 'regression': pass",
        "def f(kind='classification'): pass",
        "task.source['type']",
    ],
)
def test_a_question_for_a_kind_is_seen(source: str) -> None:
    assert list(asked(source))


def test_nothing_asks_for_a_kind_or_a_source_by_name() -> None:
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        place = file.relative_to(PACKAGE).as_posix()
        if not place.startswith(ALLOWED):
            found += [f"{place}:{line}" for line in asked(file.read_text("utf-8"))]
    assert not found


# Modules that a single kind needs, and what may import them beside it: what joins images with targets of every form, what
# reads any network out of a file, and what shows samples as training sees them.
OF_ONE_KIND = re.compile(r"(^|[._])(box|boxes|boxed|detector|yolov3)([._]|$)")
JOINS = ("data/loading/collating.py", "arch/keras/keras_json.py", "reports/drawn_targets.py")


def leaning(source: str) -> Iterator[int]:
    """Lines that import a module of a single kind, or have or ask for a property named after a kind or its targets."""
    words = "|".join(["box", "boxes", *sorted(set(kinds.names()) - {"images"})])
    question = re.compile(rf"_?(is|of|has|for|refuse)_({words})", re.IGNORECASE)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mlpipe"):
            if any(OF_ONE_KIND.search(f"{node.module}.{alias.name}") for alias in node.names):
                yield node.lineno
        elif isinstance(node, ast.FunctionDef | ast.Attribute | ast.Name | ast.keyword):
            name = {"FunctionDef": "name", "Attribute": "attr", "Name": "id", "keyword": "arg"}[type(node).__name__]
            if question.fullmatch(getattr(node, name) or ""):
                yield node.lineno


@pytest.mark.parametrize(
    "source",
    [
        "from mlpipe.arch import boxes",
        "from mlpipe.arch.detector import Detector",
        "from mlpipe.post.measures.box_metrics import METRICS",
        "part.OF_BOXES",
        "def _has_boxes(name): pass",
        "class Facts:\n    is_segmentation: bool",
        "Facts(of_boxes=True)",
    ],
)
def test_a_question_for_a_single_kind_is_seen(source: str) -> None:
    assert list(leaning(source))


def test_nothing_asks_for_a_single_kind_by_another_name() -> None:
    """What an eighth kind would have to be added to: a property that all kinds answer is to be asked for instead."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        place = file.relative_to(PACKAGE).as_posix()
        if not place.startswith((*ALLOWED, *JOINS)) and not OF_ONE_KIND.search(file.stem):
            found += [f"{place}:{line}" for line in leaning(file.read_text("utf-8"))]
    assert not found


def test_a_name_of_no_kind_gets_a_hint() -> None:
    with pytest.raises(DataError, match="did you mean 'regression'"):
        kinds.of("regresion")


OWNERS = {"data": "data", "post": "post", "learn": "learn", "report": "reports", "predict": "predicting"}


@pytest.mark.parametrize("what", [what for what, owner in OWNERS.items() if (PACKAGE / owner / "kind.py").exists()])
@pytest.mark.parametrize("name", kinds.names())
def test_a_part_has_every_function_of_its_protocol(name: str, what: str) -> None:
    """Parts are modules: mypy sees each function, this test that none is missing or takes something else."""
    require_all(importlib.import_module(f"mlpipe.{OWNERS[what]}.kind").Part, kinds.part(name, what))


@pytest.mark.parametrize("name", kinds.names())
def test_a_kind_has_words_for_everything(name: str) -> None:
    require_all(kinds.Words, kinds.part(name, "words"))
    assert kinds.of(name).words.predicted(2)


def require_all(protocol: type, part: ModuleType) -> None:
    """Refuse a part that lacks something of a protocol."""
    for method, wanted in inspect.getmembers(protocol, inspect.isfunction):
        if not method.startswith("_"):
            parameters = list(inspect.signature(wanted).parameters.values())[1:]
            assert list(inspect.signature(getattr(part, method)).parameters.values()) == parameters, method
    for attribute in protocol.__annotations__:
        assert hasattr(part, attribute), attribute
