"""Pretrained weights on this machine, and a hub that answers or does not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mlpipe.modes.doctor import weights


@pytest.mark.parametrize(
    ("environment", "hub", "torch"),
    [
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub", "/c/torch/hub/checkpoints"),
        ({"HF_HOME": "/h", "TORCH_HOME": "/t"}, "/h/hub", "/t/hub/checkpoints"),
        ({"HF_HOME": "/h", "HF_HUB_CACHE": "/w"}, "/w", None),
        ({}, str(Path.home() / ".cache/huggingface/hub"), str(Path.home() / ".cache/torch/hub/checkpoints")),
    ],
)
def test_folders(environment: dict[str, str], hub: str, torch: str | None) -> None:
    assert str(weights.hub_cache(environment)) == hub
    assert torch is None or str(weights.torch_cache(environment)) == torch


@pytest.mark.program
def test_the_libraries_have_the_same_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants
    from torch import hub

    for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME", "XDG_CACHE_HOME", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    assert Path(constants.default_cache_path).expanduser() == weights.hub_cache({})
    assert Path(hub.get_dir()) / "checkpoints" == weights.torch_cache({})


def test_weights_that_are_there(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    for name in ("models--timm--resnet18.a1_in1k", "models--timm--vit_tiny_patch16_224.augreg_in21k", "models--gpt2"):
        (hub / name / "blobs").mkdir(parents=True)
        (hub / name / "snapshots/abc").mkdir(parents=True)
    whole = hub / "models--timm--resnet18.a1_in1k"
    (whole / "blobs/1").write_bytes(b"0" * 3_000_000)
    (whole / "snapshots/abc/model.safetensors").symlink_to("../../blobs/1")
    broken = hub / "models--timm--vit_tiny_patch16_224.augreg_in21k"
    (broken / "snapshots/abc/model.safetensors").symlink_to("../../blobs/gone")
    checkpoints = tmp_path / "torch/hub/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet34-b627a593.pth").touch()
    found = weights.kept({"HF_HUB_CACHE": str(hub), "TORCH_HOME": str(tmp_path / "torch")})
    values = {one.name: one.value for one in found}
    # A file counts once, however many links lead to it.
    assert values["of the hub"] == f"{hub} (3 MB)"
    assert values["networks of timm there"] == ["resnet18.a1_in1k"]
    assert values["unfinished"] == ["vit_tiny_patch16_224.augreg_in21k"]
    assert values["files there"] == ["resnet34-b627a593.pth"]


def test_a_machine_without_weights(tmp_path: Path) -> None:
    found = weights.kept({"XDG_CACHE_HOME": str(tmp_path / "none")})
    assert {one.name: one.value for one in found}["networks of timm there"] == []
    assert {one.level for one in found} == {"ok"} and not (tmp_path / "none").exists()


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = weights.kept({"HF_HOME": str(tmp_path / "file"), "XDG_CACHE_HOME": str(tmp_path)})
    noted = [one.advice for one in found if one.level == "note"]
    assert len(noted) == 1 and "set HF_HOME to a folder that can be written" in noted[0]


def test_a_hub_that_is_not_asked() -> None:
    (found,) = weights.hub({}, is_asked=False)
    assert found.level == "ok" and "was not asked (--offline)" in found.value
    (found,) = weights.hub({"HF_HUB_OFFLINE": "1"}, is_asked=True)
    assert found.level == "ok" and "was not asked (HF_HUB_OFFLINE" in found.value


class _Refusing(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Refusing) as one:
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{one.server_port}"
        one.shutdown()
        thread.join()


@pytest.mark.services
def test_a_hub_that_answers(server: str) -> None:
    """Whatever it answers, it can be reached."""
    (found,) = weights.hub({"HF_ENDPOINT": server}, is_asked=True)
    assert (found.level, found.value) == ("ok", f"{server} answers")


@pytest.mark.services
def test_a_hub_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (found,) = weights.hub({"HF_ENDPOINT": address}, is_asked=True, patience=0.3)
        assert time.monotonic() - started < 2
    assert found.level == "note" and "arch.pretrained=false" in found.advice


def test_an_address_that_is_none() -> None:
    (found,) = weights.hub({"HF_ENDPOINT": "hub"}, is_asked=True)
    assert found.level == "note" and "unknown url type" in found.advice
