"""Networks are found by name, part of a name, pattern or size, without importing timm; the table is timm's."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from mlpipe.arch import names, network_sizes
from mlpipe.cli import main
from mlpipe.config import catalog
from mlpipe.errors import INPUT_IS_WRONG
from mlpipe.modes import models


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")


def found(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["models", *words, "--json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_a_table_has_name_parameters_size_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "resnet50"]) == 0
    page = capsys.readouterr().out.splitlines()
    assert page[0].split()[:4] == ["network", "parameters", "size", "weights,"]
    line = next(line for line in page if line.split()[:1] == ["resnet50"])
    # He et al. 2016 with 1,000 classes; timm's a1_in1k is its default.
    assert line.split()[1:5] == ["25.6", "M", "224", "a1_in1k,"]
    assert page[-1].endswith("mml train arch=resnet50 or arch=resnet50.a1_in1k")


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # As published: He et al. 2016, Tan & Le 2019, Dosovitskiy et al. 2021, Liu et al. 2022, Howard et al. 2019.
        ("resnet18", 11.7), ("resnet50", 25.6), ("efficientnet_b0", 5.3), ("vit_base_patch16_224", 86.6),
        ("convnext_tiny", 28.6), ("mobilenetv3_large_100", 5.5), ("swin_tiny_patch4_window7_224", 28.3),
    ],
)  # fmt: skip
def test_parameters_are_those_that_were_published(name: str, millions: float) -> None:
    assert network_sizes.table()[name].parameters / 1e6 == pytest.approx(millions, abs=0.06)


def test_the_table_knows_every_network_of_the_version_that_is_pinned() -> None:
    assert set(network_sizes.table()) == set(names.timm_names())


@pytest.mark.program
def test_the_table_is_what_timm_says() -> None:
    import timm

    table = network_sizes.table()
    for name in ("resnet10t", "test_vit", "levit_128s", "tf_efficientnet_lite0", "beit3_giant_patch14_224"):
        settings = timm.get_pretrained_cfg(name)
        assert settings is not None
        assert table[name].weights == (settings.tag if settings.has_weights else "")
        assert table[name].size == str(settings.input_size[1])
    for name in ("resnet10t", "test_vit", "levit_128s", "mobilenetv3_small_050"):
        network = timm.create_model(name, pretrained=False, num_classes=1000)
        assert sum(weights.numel() for weights in network.parameters()) == table[name].parameters


@pytest.mark.parametrize(
    ("words", "expected", "others"),
    [
        (["resnet*"], {"resnet18", "resnet10t", "resnet50c"}, {"seresnet18", "test_resnet"}),
        (["*18"], {"resnet18", "seresnet18"}, {"resnet18d"}),
        (["convnext", "nano"], {"convnextv2_nano"}, {"convnext_tiny"}),
        (["ResNet50.A1*"], {"resnet50"}, {"resnet18"}),
        (["arch=resnet18"], {"resnet18", "resnet18d"}, {"resnet50"}),
        (["resnet50.a1_in1k"], {"resnet50"}, {"resnet50d"}),
    ],
)
def test_patterns_and_parts_of_names(
    words: list[str], expected: set[str], others: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {one["name"] for one in found(capsys, *words)["networks"]}
    assert expected <= shown and not others & shown


def test_the_smallest_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [one["parameters"] for one in found(capsys, "resnet*")["networks"]]
    assert sizes == sorted(sizes) and len(sizes) > 40


def test_words_for_sizes_are_bounds_where_names_do_not_have_them(capsys: pytest.CaptureFixture[str]) -> None:
    shown = found(capsys, "resnetv2", "small")["networks"]
    assert shown and all(one["parameters"] < 30e6 for one in shown)
    assert main(["models", "resnetv2", "small"]) == 0
    assert "; small: fewer than 30 M parameters; mml train arch=" in capsys.readouterr().out
    assert {one["name"] for one in found(capsys, "beit", "base")["networks"]} >= {"beit_base_patch16_224"}


def test_options_of_arch_are_found_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert [one["option"] for one in found(capsys, "unet")["options"]] == ["arch=unet"]
    assert main(["models"]) == 0
    page = capsys.readouterr().out
    assert all(f"  arch={name} " in page for name in catalog.options("arch"))
    assert f"and {len(names.timm_names())} networks of timm" in page


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["resnt50"], "near names: resnet50, "),
        (["efficientnet-b0"], "near names: efficientnet_b0, "),
        (["resnet18.nope"], "near names: resnet18, "),
        (["convnext_tiny_in22ft1k"], "timm calls it convnext_tiny.fb_in22k_ft_in1k"),
        (["qqqq"], "mml models 'resnet*' shows some"),
        (["--jsn"], "--jsn: unknown option; mml models PATTERN ... or --json"),
    ],
)
def test_what_is_not_found_gets_near_names(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *words]) == INPUT_IS_WRONG
    assert expected in capsys.readouterr().err


def test_a_network_that_the_table_lacks_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = {name: size for name, size in network_sizes.table().items() if name != "resnet18"}
    monkeypatch.setattr(network_sizes, "table", lambda: table)
    assert main(["models", "resnet18"]) == 0
    assert next(line for line in capsys.readouterr().out.splitlines() if " resnet18 " in line).split()[1:3] == [
        "?",
        "?",
    ]


def test_tags_without_weights_are_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert all("untrained" not in one["weights"] for one in found(capsys, "*")["networks"])
    assert models.matching_networks(["dpn48b"])[0]["weights"] == []


def test_nothing_heavy_is_imported() -> None:
    code = "import sys; from mlpipe.cli import main; main(['models', 'resnet*']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stderr.split()) & {"torch", "timm", "numpy", "hydra", "omegaconf", "pandas"}
