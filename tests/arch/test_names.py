"""The names that `arch=` accepts are timm's own, without timm being imported."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipe.arch import names
from mlpipe.errors import ConfigError

TOP = Path(__file__).parents[2]


def test_the_names_are_timms() -> None:
    import timm

    assert list(names.timm_names()) == sorted(timm.list_models())


def test_the_tags_are_those_of_timms_registry() -> None:
    """All of them: written out, made for further endings of a name, and for variants of other networks."""
    import timm

    theirs = {name for name in timm.list_models(include_tags=True) if "." in name}
    ours = {f"{name}.{tag}" for name in names.timm_names() for tag in read_once(name)}
    assert set(timm.list_models(pretrained=True)) <= theirs
    assert ours == theirs
    assert names.timm_tags("resnet18") == read_once("resnet18") and "a1_in1k" in names.timm_tags("resnet18")
    assert names.timm_tags("no_such_network") == ()


@functools.cache
def tables() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for text in names._modules():
        for name, tag in names._network_tag_pairs(text):
            found.setdefault(name, set()).add(tag)
    return found


def read_once(name: str) -> tuple[str, ...]:
    """What `timm_tags` gives, which reads timm's files for each name."""
    return tuple(sorted(tables().get(name, ())))


def test_renamed_networks_are_networks_and_places_are_none() -> None:
    from timm.models._registry import _deprecated_models

    assert names.renamed_networks() == _deprecated_models
    for name in ("resnet18", "resnet18.a1_in1k", "tv_resnet34", "tf_efficientnet_b0.ns_jft_in1k"):
        assert names.is_network(name)
    for name in ("hf-hub:timm/resnet18", "hf_hub:timm/resnet18.a1_in1k", "local-dir:x", "resnet18.", "resnet18.b", ""):
        assert not names.is_network(name)


def test_the_tags_of_all_are_those_of_each() -> None:
    tags = names.all_timm_tags()
    for name in ("resnet50", "vit_base_patch16_clip_quickgelu_224", "tf_efficientnet_lite0", "regnety_016"):
        assert tags[name] == names.timm_tags(name) != ()
    assert len(tags) > 1200 and set(tags) <= set(names.timm_names())


def test_neither_timm_nor_torch_is_imported() -> None:
    script = (
        "import sys; from mlpipe.arch.names import is_network, timm_names; assert 'resnet18' in timm_names();"
        "assert is_network('resnet18.a1_in1k');"
        "print([name for name in ('timm', 'timm.models', 'torch') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment, cwd=TOP
    )
    assert done.stdout == "[]\n"


def test_without_timm_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    names.timm_names.cache_clear()
    with pytest.raises(ConfigError, match="arch: timm is not installed"):
        names.timm_names()
    monkeypatch.undo()
    assert names.timm_names()
