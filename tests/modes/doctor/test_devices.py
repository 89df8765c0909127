"""GPUs that the system shows, and those that torch can use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpipe.modes.doctor import devices
from mlpipe.modes.doctor.devices import Hardware

NONE = Hardware(0, 0, None, False)
ONE = Hardware(1, 1, "550.54.14", False)
FACTS: dict[str, Any] = {
    "torch": "2.9.0+cu130", "cuda": "13.0", "hip": None, "gpus": [], "bfloat16": False, "mps": False,
    "architectures": ["sm_75", "sm_80", "sm_86", "sm_90", "sm_120", "compute_120"], "threads": 4, "mkl": True,
    "openmp": True, "cpu": "AVX2",
}  # fmt: skip
GPU = {"name": "NVIDIA H200", "memory": 150_000_000_000, "free": 140_000_000_000, "capability": [9, 0]}


def test_hardware(tmp_path: Path) -> None:
    assert devices.hardware(tmp_path) == NONE
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    folder = tmp_path / "proc/driver/nvidia"
    for name in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        (folder / "gpus" / name).mkdir(parents=True)
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.133.20  Release Build"
    (folder / "version").write_text(text)
    assert devices.hardware(tmp_path) == Hardware(2, 3, "570.133.20", False)


def test_a_gpu_that_is_used() -> None:
    found = devices.torch_findings({**FACTS, "gpus": [GPU, GPU], "bfloat16": True}, ONE, {})
    assert [one.value for one in found if one.name == "GPU"] == ["NVIDIA H200, 150.0 GB, 140.0 GB free"] * 2
    assert {one.level for one in found} == {"ok"} and "yes" in [one.value for one in found if one.name == "bfloat16"]


@pytest.mark.parametrize(
    ("facts", "hardware", "environment", "sentence"),
    [
        ({}, NONE, {}, ""),
        ({"cuda": None, "torch": "2.9.0+cpu"}, ONE, {}, "torch is built for CPUs only, got '2.9.0+cpu'"),
        ({}, ONE, {}, "torch for CUDA 13.0 cannot use driver 550.54.14"),
        ({}, ONE, {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES hides it, got ''"),
        ({}, ONE, {"CUDA_VISIBLE_DEVICES": "-1"}, "CUDA_VISIBLE_DEVICES hides it, got '-1'"),
        ({}, Hardware(0, 1, "550", False), {}, "docker run --gpus all"),
        ({}, Hardware(0, 0, None, True), {}, "torch is built without ROCm"),
    ],
)
def test_a_gpu_that_is_not_used(
    facts: dict[str, Any], hardware: Hardware, environment: dict[str, str], sentence: str
) -> None:
    found = [one for one in devices.torch_findings({**FACTS, **facts}, hardware, environment) if one.name == "GPU"]
    assert len(found) == 1 and found[0].level == ("note" if sentence else "ok") and sentence in found[0].advice


# What runs where: CUDA's programming guide on binary and PTX compatibility.
@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ([8, 9], ["sm_80", "sm_90"], True),
        ([8, 0], ["sm_86", "sm_90"], False),
        ([6, 1], ["sm_75", "sm_80"], False),
        ([7, 5], ["sm_75"], True),
        ([12, 0], ["sm_90", "sm_100"], False),
        ([12, 1], ["sm_90", "sm_120"], True),
        ([12, 0], ["sm_90", "compute_90"], True),
        ([8, 0], ["sm_90", "compute_90"], False),
        ([9, 0], ["sm_90a"], True),
        ([9, 0], [], True),
    ],
)
def test_capabilities(capability: list[int], architectures: list[str], runs: bool) -> None:
    assert (devices.capability_problem("GPU", capability, architectures) == "") is runs


def test_a_torch_that_cannot_be_imported_stops_a_training() -> None:
    (found,) = devices.torch_findings({"error": "undefined symbol"}, NONE, {})
    assert found.level == "problem" and "undefined symbol" in found.advice


def test_a_process_that_ends_badly_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_ASK", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    assert devices.asked() == {"error": "its process ended with -4"}
    monkeypatch.setattr(devices, "_ASK", "raise ImportError('libcudart.so is missing')")
    assert devices.asked() == {"error": "ImportError: libcudart.so is missing"}
    monkeypatch.setattr(devices, "_ASK", "import time; time.sleep(60)")
    assert devices.asked(0.2) == {"error": "its import took longer than 0.2 s"}


@pytest.mark.program
def test_what_torch_says_here() -> None:
    import torch

    facts = devices.asked()
    assert facts["torch"] == torch.__version__ and facts["cuda"] == torch.version.cuda
    assert len(facts["gpus"]) == torch.cuda.device_count() and facts["mps"] == torch.backends.mps.is_available()
