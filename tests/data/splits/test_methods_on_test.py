"""All training images are learned, the test part is what is validated."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.cli import main
from mlpipe.data.splits import variants
from mlpipe.data.splits.methods import on_test
from mlpipe.data.task import Row, Task, make
from mlpipe.errors import DataError

PARTS = ("train", "val", "test", "unlabelled")


def of_parts(*parts: str) -> Task:
    rows = [Row(f"{part}{label}", part, label, f"{part}{label}") for part in parts for label in (0, 1)]  # type: ignore[arg-type]
    return make("t", ["a", "b"], rows, channels=1, source={"type": "digits"})


def test_every_training_image_is_learned_and_the_test_part_validated() -> None:
    task = of_parts(*PARTS)
    view = variants.plain(task, on_test(task.samples), 0)
    names = {key: [task.samples.ids[row] for row in rows] for key, rows in view.rows().items()}
    assert names == {
        "train": ["train0", "train1", "val0", "val1"],
        "val": ["test0", "test1"],
        "test": [],
        "unlabelled": ["unlabelled0", "unlabelled1"],
    }


def test_without_a_test_part_nothing_is_judged() -> None:
    task = of_parts("train")
    split = on_test(task.samples)
    view = variants.plain(task, split, 0)
    assert len(view.train) == 2 and len(view.val) == 0 and not np.any(split.fold == 0)
    variants.check(task, view, is_judged=False)
    with pytest.raises(DataError, match="no validation image is left"):
        variants.check(task, view)


@pytest.mark.program
def test_a_training_that_nothing_judges(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "task=digits", "split=on_test", "mode.nested=false", "trainer.max_epochs=1", "sys.threads=1"]
    assert main(words) == 2
    assert "split: leaves no image to validate on, by which to choose (best_checkpoint)" in capsys.readouterr().err
    assert main([*words, "mode.store_best=false"]) == 0
    assert "trained, not validated" in capsys.readouterr().out
    assert main(["info"]) == 0
