"""What a task says of its target images."""

from __future__ import annotations

import pytest

from mlpipe.data import task
from mlpipe.data.sources.targets import target_files


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_only_targets_of_8_bit_are_bytes_whatever_the_images_are(dtype: str) -> None:
    described = target_files.described(None, 1, dtype)  # type: ignore[arg-type]
    of = task.make(
        "t",
        ["grey"],
        [],
        kind="images",
        channels=3,
        dtype="uint8",
        source={"type": "folder", "root": "", "targets": described},
    )
    assert target_files.are_bytes(of) == (dtype == "uint8")
    assert not target_files.are_bytes(task.make("u", ["a", "b"], [], channels=3, source={"type": "folder", "root": ""}))
