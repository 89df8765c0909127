"""The section shows what is drawn and listed, and nothing that an index leads elsewhere for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlpipe import files
from mlpipe.reports import drawn_maps, facts
from mlpipe.reports.sections import heat_maps
from mlpipe.runs.project import Project
from tests.build import make_record


def test_pictures_of_the_index_are_shown(tmp_path: Path) -> None:
    project = Project(tmp_path / "results" / "p")
    make_record(project, "net-f0", config="")
    of = facts.of_task(project, tmp_path / "data", "digits")
    assert of is not None and heat_maps.heat_maps(of).is_empty
    folder = heat_maps.folder_of(project, "digits")
    drawn_maps.write(folder / "001_a.png", np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4), np.float32), ["a"])
    files.write_bytes(tmp_path / "secret.png", b"secret")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    images = [
        {"image": "a<b>", "file": "001_a.png", "words": ["cat, taken for <dog>"]},
        {"image": "b", "file": "../../../../../secret.png", "words": []},
        {"image": "c", "file": "link.png", "words": []},
        {"image": "d", "problem": "broken"},
    ]
    files.write_json(folder / heat_maps.INDEX, {"images": images})
    body = str(heat_maps.heat_maps(of).body())
    assert body.count("<img") == 1 and "cat, taken for &lt;dog&gt;" in body and "a&lt;b&gt;" in body
    files.write_text(folder / heat_maps.INDEX, "[]")
    assert heat_maps.heat_maps(of).is_empty
