"""Identities of components: frozen paths lead somewhere, hashes stay byte-identical, also where code has moved."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mlpipe import names
from mlpipe.config import catalog, signatures
from mlpipe.config.compose import Facts, compose
from mlpipe.config.schema import RunConfig

PACKAGE = Path(__file__).parents[1] / "mlpipe"
# Recipe hashes that version 0.1.0 gave, by overrides: they group the folds of stored projects.
HASHES: dict[str, str] = json.loads((Path(__file__).parent / "frozen/recipe_hashes.json").read_text("utf-8"))
DOTTED = re.compile(r"mlpipe(\.[A-Za-z_]\w*)+")


def composed(overrides: str) -> RunConfig:
    facts = Facts(lambda: ("resnet10t", "resnet18", "resnet50"), ())
    return compose("train", ["task=digits", "sys.threads=1", *overrides.split()], facts)


@cache
def trees() -> dict[str, ast.Module]:
    """The modules of the package, by their places in it."""
    return {
        file.relative_to(PACKAGE).as_posix(): ast.parse(file.read_text("utf-8"))
        for file in sorted(PACKAGE.rglob("*.py"))
    }


def resolves(path: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    try:
        importlib.import_module(path)
        return True
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return module != "" and resolves(module) and hasattr(importlib.import_module(module), name)


def changed(recipes: list[str]) -> list[str]:
    """Recipes whose hash is not that of stored projects."""
    return [text for text in recipes if composed(text).recipe_hash("digits") != HASHES[text]]


def test_recipe_hashes_are_those_of_stored_projects() -> None:
    """One in forty: a composition costs a fraction of a second, and the program tests look at all."""
    assert changed(list(HASHES)[::40]) == []


def test_keys_added_later_change_no_hash_while_they_have_their_first_values() -> None:
    """The hash is that of this schedule before it had a warm-up of Keras's."""
    assert composed("lr_scheduler=cosine_decay").recipe_hash("digits") == "18e133fb"
    warm = composed("lr_scheduler=cosine_decay lr_scheduler.warmup_steps=5")
    assert warm.recipe_hash("digits") != "18e133fb"


@pytest.mark.program
def test_all_recipe_hashes_are_those_of_stored_projects() -> None:
    assert changed(list(HASHES)) == []


def test_every_path_of_0_1_0_leads_to_the_code_of_today() -> None:
    missing = [path for path in names.frozen() if signatures.read(names.current(path)) is None]
    assert not missing


def test_every_component_of_an_option_is_identified() -> None:
    paths = {
        path
        for file in (PACKAGE.parent / "conf").rglob("*.yaml")
        for path in re.findall(r"_target_: *(mlpipe\.[\w.]+)", file.read_text("utf-8"))
    }
    assert len(paths) > 100
    assert not [path for path in paths if signatures.read(path) is None]


def test_a_name_stands_for_one_component_of_its_group() -> None:
    counts = Counter(names.frozen().values())
    assert [row for row, count in counts.items() if count > 1] == []
    assert set(names.FROZEN) <= {"task", "mode", "device_augmentations", *catalog.groups()}


def test_hashes_survive_a_move(monkeypatch: pytest.MonkeyPatch) -> None:
    before = composed("optimizer=keras_adamax").recipe_hash("digits")
    # As if `adamax` had moved to where `nadam` lies, which takes the same parameters.
    move = {**names.MOVED, "mlpipe.learn.keras_optimizers.adamax": "mlpipe.learn.optimizers.keras.nadam"}
    monkeypatch.setattr(names, "MOVED", move)
    names._origins.cache_clear()
    try:
        after = composed("optimizer=keras_adamax optimizer._target_=mlpipe.learn.keras_optimizers.adamax")
        assert after.recipe.optimizer.target.endswith(".nadam")
        assert after.recipe.optimizer.name == "keras_adamax"
        assert after.recipe_hash("digits") == before
    finally:
        names._origins.cache_clear()


def test_identities_of_components_that_came_later_and_of_users() -> None:
    assert names.identity("loss", names.path_of("loss", "focal")) == "mlpipe.learn.losses.focal"
    assert names.identity("loss", "mlpipe.learn.losses.classes.tomorrow") == "loss/tomorrow"
    assert names.identity("loss", "my_losses.mine") == "my_losses.mine"
    pipelines = {"device": {"pipeline": [{"_target_": "mlpipe.x.later", "p": 1}]}, "cpu": [{"_target_": "torch.x.Y"}]}
    assert names.identified("augmentations", pipelines) == {
        "device": {"pipeline": [{"_target_": "device_augmentations/later", "p": 1}]},
        "cpu": [{"_target_": "torch.x.Y"}],
    }
    stages = {"list": [{"loss": {"_target_": "mlpipe.x.later"}, "extra_callbacks": {"a": {"_target_": "mlpipe.b.c"}}}]}
    assert names.identified("stages", stages) == {
        "list": [{"loss": {"_target_": "loss/later"}, "extra_callbacks": {"a": {"_target_": "callbacks/c"}}}]
    }


def test_every_dotted_name_in_the_package_means_something() -> None:
    """Texts that name code by its path break silently when the code moves."""
    found = set()
    for place, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and place != "names.py":
                text = node.value.strip()
                found |= {text} if DOTTED.fullmatch(text) else set()
    assert len(found) > 10
    assert not sorted(path for path in found if not resolves(names.current(path)))


def compared(tree: ast.Module) -> Iterator[int]:
    """Lines that compare a text that names code of mlpipe, or the end of a target."""

    def dotted(node: ast.AST) -> bool:
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return any(dotted(one) for one in node.elts)
        if isinstance(node, ast.Starred):
            return dotted(node.value)
        if isinstance(node, ast.JoinedStr):
            head = node.values[0]
            of_home = isinstance(head, ast.FormattedValue) and ast.unparse(head.value) in constants
            return of_home or dotted(head)
        if isinstance(node, ast.Name | ast.Attribute):
            return ast.unparse(node) in constants
        return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("mlpipe.")

    # What a module calls such a text.
    constants: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign):
            one, value = node.targets[0], node.value
            several = isinstance(one, ast.Tuple) and isinstance(value, ast.Tuple)
            pairs = zip(one.elts, value.elts, strict=True) if several else [(one, value)]  # type: ignore[attr-defined]
            constants |= {ast.unparse(name) for name, text in pairs if dotted(text)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(dotted(one) for one in (node.left, *node.comparators)):
            yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "endswith":
            is_target = "target" in ast.unparse(node.func.value) and node.args
            ending = node.args[0].value if is_target and isinstance(node.args[0], ast.Constant) else ""
            if re.fullmatch(r"\.?[a-z_]+(\.[a-z_]+)+|\.[a-z_]+", str(ending)):
                yield node.lineno


@pytest.mark.parametrize(
    "source",
    [
        "recipe.loss.target == 'mlpipe.learn.losses.auto.auto'",
        "HOME = 'mlpipe.learn'\nx = target in (f'{HOME}.auto', 'y')",
        "A, B = 'mlpipe.a', 'mlpipe.b'\nx = target != B",
        "BOTH = ('mlpipe.a', 'mlpipe.b')\nx = target in BOTH",
        "str(tree.get('_target_')).endswith('.none')",
        "component.target.endswith('classifier.timm')",
    ],
)
def test_a_comparison_with_a_path_is_seen(source: str) -> None:
    assert list(compared(ast.parse(source)))


def test_no_code_compares_a_dotted_path() -> None:
    """A component is asked for its name: its path changes when code moves."""
    found = []
    for place, tree in trees().items():
        # Formats of stored files are compared as they were written.
        if place != "runs/formats.py":
            found += [f"{place}:{line}" for line in compared(tree)]
    assert not found


@pytest.mark.parametrize(
    ("mode", "then", "now"),
    [
        ("train", "mlpipe.modes.train.TrainingScheduler", "mlpipe.modes.train.TrainingScheduler"),
        ("predict", "mlpipe.modes.train.TrainingScheduler", "mlpipe.modes.predict.PredictScheduler"),
        ("test", "mlpipe.modes.train.TrainingScheduler", "mlpipe.modes.test.TestScheduler"),
        (
            "downgrade",
            "mlpipe.modes.upgrade.UpgradeScheduler",
            "mlpipe.dialects.mml_core.commands.downgrade.DowngradeScheduler",
        ),
        ("preset", "mlpipe.modes.presets.PresetScheduler", "mlpipe.running.presets.PresetScheduler"),
        ("predict", "mine.Mode", "mine.Mode"),
    ],
)
def test_a_stored_run_goes_on_with_the_class_that_serves_its_mode_now(mode: str, then: str, now: str) -> None:
    assert names.scheduler(mode, then) == now
