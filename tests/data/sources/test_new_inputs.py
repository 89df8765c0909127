"""New images are for the classes of a stored task, whatever these are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from mlpipe.data import task
from mlpipe.data.sources import new_inputs


def test_classes_of_an_older_task_keep_their_names(tmp_path: Path) -> None:
    """Names over two lines, as spreadsheets have them, are refused in new tasks alone."""
    made = task.make("old", ["a", "b"], [], channels=1, source={"type": "folder", "root": str(tmp_path)})
    old = replace(made, classes=("edema\n(yes)", "b" * 2000))
    (tmp_path / "new").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "new" / "1.png")
    found = new_inputs.new_images(root=str(tmp_path / "new"), like=old)
    assert found.classes == old.classes and found.samples.ids == ("1.png",)
