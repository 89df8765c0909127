"""Network files that a configuration names become part of it, so that a run does not depend on the file later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.errors import no_such_file, problem
from mlpipe.names import name_of


def inlined(arch: Any) -> list[str]:
    """Read `arch.file` of a Keras network into `arch.layers`, as JSON in one line, which is quick to store and load.

    Args:
        arch: The section, changed in place where it is such a network.

    Returns:
        A sentence for each problem.
    """
    if not isinstance(arch, dict) or name_of(str(arch.get("_target_"))) != "keras_json":
        return []
    file, layers = arch.get("file"), arch.get("layers")
    if isinstance(file, str) and layers is not None:
        return [problem("arch.file", "arch.layers gives the network already", got=file, fix="leave one of them out")]
    if not isinstance(file, str):
        if layers is None and file is None:
            fix = "add arch.file=net.json, or arch.layers=[...]"
            return [problem("arch.file", "a value is needed", fix=fix)]
        arch["name"] = arch.get("name") or "keras"
        return []
    path = Path(file).expanduser()
    if not path.is_file():
        return [no_such_file("arch.file", path, got=file)]
    try:
        content = files.plain_json(path.read_text("utf-8"), unique=True)
    except (OSError, ValueError) as error:
        # What JSON says of a mistake holds its line and column.
        fix = "give what model.to_json() writes"
        return [problem("arch.file", f"is not JSON ({error})", got=file, fix=fix)]
    arch |= {"file": None, "layers": json.dumps(content, separators=(",", ":")), "name": arch.get("name") or path.stem}
    return []
