"""A network's file becomes part of the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlpipe.config.resolve import network_inlined

TARGET = "mlpipe.arch.keras.keras_json.keras_json"


def test_a_file_is_read_into_one_line(tmp_path: Path) -> None:
    (tmp_path / "my net.json").write_text('[\n {"class_name": "Dense", "config": {"rate": 1e-05}}\n]')
    arch: dict[str, Any] = {"_target_": TARGET, "file": str(tmp_path / "my net.json"), "layers": None, "name": None}
    assert network_inlined(arch) == []
    assert arch == {"_target_": TARGET, "file": None, "layers": arch["layers"], "name": "my net"}
    assert "\n" not in arch["layers"] and json.loads(arch["layers"])[0]["config"] == {"rate": 1e-05}
    # What a run stored is as it was.
    stored = dict(arch)
    assert network_inlined(arch) == [] and arch == stored


@pytest.mark.parametrize("arch", [None, "own", {"_target_": "mlpipe.arch.classifier.timm", "file": "x"}])
def test_other_networks_are_left_alone(arch: Any) -> None:
    before = dict(arch) if isinstance(arch, dict) else arch
    assert network_inlined(arch) == [] and arch == before


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "arch.file: a value is needed; add arch.file=net.json, or arch.layers=[...]"),
        ({"file": "net.jsn"}, "there is no such file, got 'net.jsn'; did you mean 'net.json'?"),
        ({"file": "net.json"}, "is not JSON (Expecting ',' delimiter: line 2 column 1"),
        ({"file": "deep.json"}, "is not JSON (it is nested too deeply)"),
        ({"file": "net.json", "layers": []}, "arch.layers gives the network already"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, given: dict[str, Any], sentence: str) -> None:
    (tmp_path / "net.json").write_text("[1\n2]")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    (found,) = network_inlined({"_target_": TARGET, **given})
    assert sentence in found
