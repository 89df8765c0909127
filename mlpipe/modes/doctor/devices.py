"""The devices that torch computes on, queried in a separate process, because a broken torch may crash it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpipe.errors import problem
from mlpipe.modes.doctor.findings import Finding, size

# Timeout in seconds for importing torch, also from a slow disk.
_PATIENCE = 120.0
_PACKAGE = Path(__file__).parents[2]
_ASK = f"""
import sys
sys.path.append({str(_PACKAGE.parent)!r})
from mlpipe.modes.doctor import devices
print(devices.answer())
"""
_REINSTALL = "install torch and torchvision anew, with one command"


@dataclass(frozen=True)
class Hardware:
    """GPUs as the operating system shows them, without any library.

    Attributes:
        nvidia: NVIDIA GPUs that programs can open.
        in_machine: NVIDIA GPUs that the driver knows, including those that a container hides.
        driver: The version of the NVIDIA driver; None: there is none.
        amd: Whether there is an AMD GPU with its driver.
    """

    nvidia: int
    in_machine: int
    driver: str | None
    amd: bool


def hardware(root: Path = Path("/")) -> Hardware:
    """Return the GPUs that the operating system shows.

    Args:
        root: The folder that contains `dev` and `proc`.
    """
    nodes = [node for node in (root / "dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", node.name)]
    folder = root / "proc/driver/nvidia"
    known = len(list((folder / "gpus").iterdir())) if (folder / "gpus").is_dir() else 0
    text = (folder / "version").read_text("utf-8") if (folder / "version").is_file() else ""
    version = re.search(r"Kernel Module.*?(\d+(?:\.\d+)+)", text)
    return Hardware(len(nodes), max(known, len(nodes)), version[1] if version else None, (root / "dev/kfd").exists())


def answer() -> str:
    """Return the facts about torch and its devices as JSON; called in a separate process, because it imports torch."""
    import torch
    import torchvision  # noqa: F401

    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        gpus.append(
            {
                "name": properties.name,
                "memory": total,
                "free": free,
                "capability": [properties.major, properties.minor],
            }
        )
    facts = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "gpus": gpus,
        "bfloat16": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        "architectures": torch.cuda.get_arch_list(),
        "mps": torch.backends.mps.is_available(),
        "threads": torch.get_num_threads(),
        "mkl": torch.backends.mkl.is_available(),  # type: ignore[no-untyped-call]
        "openmp": torch.backends.openmp.is_available(),  # type: ignore[no-untyped-call]
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    return json.dumps(facts)


def asked(patience: float = _PATIENCE) -> dict[str, Any]:
    """Return the facts about torch, collected in a separate process.

    Args:
        patience: The timeout in seconds.

    Returns:
        The facts; only `error` if they could not be collected.
    """
    command = [sys.executable, "-P", "-c", _ASK]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"its import took longer than {patience:g} s"}
    lines = process.stdout.strip().splitlines()
    if process.returncode == 0 and lines:
        facts: dict[str, Any] = json.loads(lines[-1])
        return facts
    error_lines = process.stderr.strip().splitlines()
    return {"error": error_lines[-1][:200] if error_lines else f"its process ended with {process.returncode}"}


def torch_findings(facts: Mapping[str, Any], devices: Hardware, environment: Mapping[str, str]) -> list[Finding]:
    """Interpret torch's facts on this hardware.

    Args:
        facts: The result of `asked`.
        devices: The GPUs that the operating system shows.
        environment: The environment variables.
    """
    if "error" in facts:
        text = problem("torch", f"it cannot be imported with torchvision ({facts['error']})", fix=_REINSTALL)
        return [Finding("devices", "torch", None, "problem", text)]
    built = f"CUDA {facts['cuda']}" if facts["cuda"] else f"ROCm {facts['hip']}" if facts["hip"] else "CPU only"
    findings = [Finding("devices", "torch", f"{facts['torch']} ({built})")]
    for gpu in facts["gpus"]:
        wrong = capability_problem(gpu["name"], gpu["capability"], facts["architectures"])
        value = f"{gpu['name']}, {size(gpu['memory'])}, {size(gpu['free'])} free"
        findings.append(Finding("devices", "GPU", value, "problem" if wrong else "ok", wrong))
    if facts["gpus"]:
        findings.append(Finding("devices", "bfloat16", "yes" if facts["bfloat16"] else "no"))
    elif wrong := unused_reason(facts, devices, environment):
        findings.append(Finding("devices", "GPU", "not used", "note", wrong))
    else:
        findings.append(Finding("devices", "GPU", "none"))
    if facts["mps"]:
        findings.append(Finding("devices", "Apple GPU", "mps"))
    findings += [
        Finding("threads", "of torch here", facts["threads"]),
        Finding("threads", "OpenMP", "yes" if facts["openmp"] else "no"),
        Finding("threads", "MKL", "yes" if facts["mkl"] else "no"),
        Finding("processor", "vector units", facts["cpu"]),
    ]
    return findings


def unused_reason(facts: Mapping[str, Any], devices: Hardware, environment: Mapping[str, str]) -> str:
    """Explain in a sentence why a GPU is not used; empty if there is no GPU.

    Args:
        facts: The result of `asked`.
        devices: The GPUs that the operating system shows.
        environment: The environment variables.
    """
    if devices.amd and not devices.in_machine and not facts["hip"]:
        return problem("GPU", "there is one of AMD, and torch is built without ROCm", fix="install torch for ROCm")
    if not devices.in_machine:
        return ""
    hidden = environment.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return problem("GPU", "CUDA_VISIBLE_DEVICES hides it", got=hidden, fix="unset CUDA_VISIBLE_DEVICES")
    if not devices.nvidia:
        return problem("GPU", "the machine has one, this container does not", fix="docker run --gpus all")
    if not facts["cuda"]:
        fix = "install torch and torchvision for CUDA (docs/installing.md)"
        return problem("GPU", "there is one of NVIDIA, and torch is built for CPUs only", got=facts["torch"], fix=fix)
    fix = "renew the driver, or install torch for an older CUDA"
    return problem("GPU", f"torch for CUDA {facts['cuda']} cannot use driver {devices.driver}", fix=fix)


def capability_problem(name: str, capability: Sequence[int], architectures: Sequence[str]) -> str:
    """Explain in a sentence why torch has no code for a GPU; empty if it has.

    Compiled code (`sm_86`) runs on the same major version from its minor version on; code compiled at first use
    (`compute_90`) runs on every version from its own on (CUDA's programming guide, "binary and PTX compatibility").

    Args:
        name: The GPU's name.
        capability: Its major and minor version.
        architectures: The architectures that torch is built for; empty: unknown.
    """
    major, minor = capability
    for text in architectures:
        kind, _, digits = text.partition("_")
        number = int(re.sub(r"\D", "", digits) or 0)
        own, least = divmod(number, 10)
        if (own == major and least <= minor) if kind == "sm" else number <= 10 * major + minor:
            return ""
    if not architectures:
        return ""
    wrong = f"torch has no code for {name} (sm_{major}{minor}), only for {', '.join(architectures)}"
    return problem("GPU", wrong, fix="install another version of torch, or write trainer.accelerator=cpu")
