"""Every key has a meaning, and the default that YAML reads; nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mlpipe import files
from mlpipe.config import catalog, keys


def leaves(node: dict[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    """Keys and values of a tree as YAML reads it, without what chooses code."""
    for name, value in node.items():
        key = f"{above}.{name}" if above else name
        if name in ("_target_", "scheduler", "defaults") or (name == "trust" and above):
            continue
        own_names = ("given", "preset.recipes", "preset.pretrained", "preset.sizes", "search_space.params")
        if isinstance(value, dict) and value and key not in own_names:
            yield from leaves(value, key)
        else:
            yield key, value


def written(group: str, option: str) -> dict[str, Any]:
    """The keys of an option's own file and of those that its `defaults` name."""
    text = catalog.option_text(group, option)
    content = files.plain_yaml(text) or {}
    found: dict[str, Any] = {}
    for parent in content.get("defaults", ()):
        found |= written(group, parent) if parent != "_self_" else {}
    return found | dict(leaves(content, "" if "@package _global_" in text else group))


OPTIONS = [(group, option) for group in catalog.groups() for option in catalog.options(group)]


@pytest.mark.parametrize("group", catalog.groups())
def test_keys_and_defaults_are_those_that_yaml_reads(group: str) -> None:
    for option in catalog.options(group):
        expected = written(group, option)
        own = keys.of_option(group, option)
        assert set(own) == set(expected), option
        for name, value in expected.items():
            # Written over several lines, they are shown in one for people, which is no YAML.
            is_block = isinstance(value, dict) or any(sign in str(value) for sign in ("_target_", "=[", "[{'epochs"))
            assert is_block or files.plain_yaml(own[name].default(option)) == value, (option, name)


def test_top_keys_are_those_that_yaml_reads() -> None:
    expected = dict(leaves(files.read_yaml(catalog.conf_dir() / "config.yaml"), ""))
    assert {name: files.plain_yaml(key.default()) for name, key in keys.top_keys().items()} == expected


def test_every_key_has_a_meaning_in_every_option() -> None:
    listed = [
        *keys.all_keys().values(),
        *(key for group in catalog.groups() for key in keys.keys_without_file(group).values()),
    ]
    silent = [(key.name, one.option) for key in listed for one in key.settings if len(key.meaning(one.option)) < 6]
    assert silent == []
    assert len(listed) > 450


@pytest.mark.parametrize(
    ("name", "option", "default", "meaning", "values"),
    [
        ("optimizer.lr", "adamw", "${recommend.lr}", "Learning rate.", "a number > 0"),
        ("optimizer.weight_decay", "adamw", "0.05", "Weight decay; never of norms, biases,", "a number >= 0"),
        ("optimizer.clip_norm", "sgd", "null", "The largest norm of all gradients together", "a number > 0 or null"),
        ("trainer.max_epochs", "default", "${recommend.epochs}", "Epochs: how often", "a whole number >= 1"),
        ("trainer.benchmark", "default", "", "The value (true or false) to set torch.backends", "true or false"),
        ("mode.prior", "post", "val", "The prevalence that", "one of val, test, quantify or a list"),
        ("mode.nested", "predict", "true", "Set each fold aside as test data", "true or false"),
        ("mode.subroutines", "tl", "[train]", "Any of train, predict, test", "a list"),
        ("cbs.early.patience", "early", "5", "Epochs without an improvement", "a whole number >= 0"),
        ("task.root", "folder", "???", "The folder, or a zip or tar archive of it.", "text"),
        # Its docstring says `As for folder.`
        ("task.allow_overlap", "csv", "false", "Accept test or validation images", "true or false"),
        ("preprocessing.size", "size96", "96", "Height and width of images", "a whole number >= 1 and <= 8192 or"),
        ("arch.weights_strict", "timm", "", "", "true or false"),
        ("seed", "", "42", "One seed for everything random.", "a whole number from 0 to 4294967295"),
        ("recommend.size", "digits", "32", "Height and width of images in pixels", ""),
        ("sys.console", "default", "mlpipe", "How a training looks", "one of mlpipe, rmldnn"),
        ("hydra.launcher.timeout_min", "slurm", "60", "The time limit of a job in minutes", ""),
    ],
)
def test_a_key(name: str, option: str, default: str, meaning: str, values: str) -> None:
    key = keys.find(name)
    assert key is not None
    assert key.default(option) == default
    assert key.meaning(option).startswith(meaning)
    assert key.values(option).startswith(values)


def test_a_docstrings_words_are_said_as_a_configuration_says_them() -> None:
    key = keys.find("arch.weights_strict")
    assert key is not None and "None" not in key.meaning("timm") and "`" not in key.meaning("timm")


def test_the_default_option_comes_first() -> None:
    lr = keys.find("optimizer.lr")
    assert lr is not None and lr.options[0] == "adamw" and {"sgd", "keras_adam", "lion"} <= set(lr.options)
    assert keys.options("split")[0] == "kfold"


def test_blocks_are_written_in_one_line() -> None:
    steps = keys.find("augmentations.cpu.pipeline")
    assert steps is not None and steps.default("default") == "[random_crop(padding=0.1), horizontal_flip(p=0.5)]"
    spaces = keys.find("search_space.params")
    assert spaces is not None and spaces.default("basic").startswith("{optimizer.lr: tag(log, interval(1e-5, 1e-2)), ")


def test_what_refers_to_a_key() -> None:
    assert "optimizer.lr" in keys.references("recommend.lr")
    assert "callbacks.every_epoch.folder" in keys.references("sys.artifact_dir")
    assert keys.referenced_key("${recommend.lr}") == "recommend.lr" and keys.referenced_key("fpn-${arch.encoder}") == ""


@pytest.mark.parametrize("name", ["optimizer.learning_rate", "nothing", "trainer.logger", "loss.trust", "mode"])
def test_what_is_no_key_is_not_found(name: str) -> None:
    assert keys.find(name) is None


def test_nothing_heavy_is_imported() -> None:
    code = "import sys; from mlpipe.config import keys; [k.meaning() + k.values() for k in keys.all_keys().values()]; "
    code += "print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "timm", "numpy", "hydra", "omegaconf", "yaml", "pytorch_lightning"}
