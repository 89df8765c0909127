"""All names that `arch=NAME` accepts, read from timm's source without importing it."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from mlpipe.errors import ConfigError, problem

_ENTRYPOINT = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)


@functools.cache
def timm_names() -> tuple[str, ...]:
    """The names of timm's networks.

    Raises:
        ConfigError: When timm is not installed.
    """
    import importlib.util

    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise ConfigError(problem("arch", "timm is not installed", fix="install mlpipe with its dependencies"))
    folder = Path(spec.origin).parent / "models"
    found: set[str] = set()
    for file in folder.glob("*.py"):
        found.update(_ENTRYPOINT.findall(file.read_text("utf-8")))
    return tuple(sorted(found))
