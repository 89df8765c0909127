"""Where curves go, and what is said of a package that is missing."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest

from mlpipe.errors import ConfigError
from mlpipe.learn import logging


def test_nothing_is_logged_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert logging.none(tmp_path) == [] and not list(tmp_path.iterdir())


def test_lines_of_csv_lie_in_the_fold_s_own_folder(tmp_path: Path) -> None:
    (logger,) = logging.csv(tmp_path / "fold", every_n_steps=1)
    logger.log_metrics({"loss": 0.5}, step=3)
    logger.save()
    (row,) = csv.DictReader((tmp_path / "fold" / "metrics.csv").read_text().splitlines())
    assert (float(row["loss"]), int(row["step"])) == (0.5, 3)


def test_a_package_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert logging.problems("none") == logging.problems("csv") == []
    (told,) = logging.problems("tensorboard")
    assert told.startswith("logging=tensorboard: the package tensorboard is not installed; pip install")
    with pytest.raises(ConfigError, match="the package tensorboard is not installed"):
        logging.tensorboard(tmp_path)


def test_another_folder_has_one_for_each_record_and_stage(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (logger,) = logging.tensorboard(tmp_path / "run" / "record" / "0", log_dir=str(tmp_path / "curves"))
    assert Path(logger.log_dir) == tmp_path / "curves" / "record" / "0"
