"""Out-of-fold rows of a recipe: each image once, the mean over repeats where there are any."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mlpipe.errors import ProjectError
from mlpipe.post.ensembling import members
from mlpipe.post.ensembling.member_rows import Rows


def rows(ids: list[str], chances: list[float]) -> Rows:
    """Rows with these probabilities of the second of two classes, calibrated ones with half of them."""
    raw, calibrated = (np.log(np.array([[1 - one, one] for one in part])) for part in (chances, np.array(chances) / 2))
    return Rows(ids, np.zeros(len(ids), np.int64), raw, calibrated)


def test_folds_of_one_repeat_are_joined_by_the_names_of_images() -> None:
    found = members.out_of_fold([rows(["b"], [0.25]), rows(["a", "c"], [0.5, 0.125])], "classification")
    assert found.ids == ["a", "b", "c"]
    assert np.exp(found.raw)[:, 1].tolist() == pytest.approx([0.5, 0.25, 0.125])


def test_repeats_are_averaged_for_each_image() -> None:
    parts = [rows(["b"], [0.25]), rows(["a"], [0.5]), rows(["a"], [0.9]), rows(["b"], [0.75])]
    found = members.out_of_fold(parts, "classification")
    assert found.ids == ["a", "b"]
    assert np.exp(found.raw)[:, 1].tolist() == pytest.approx([0.7, 0.5])
    assert np.exp(found.calibrated)[:, 1].tolist() == pytest.approx([0.35, 0.25])
    # What is no probability has its mean as it is.
    assert members.out_of_fold(parts, "regression").raw[0].tolist() == pytest.approx(
        [np.log([0.5, 0.1]).mean(), np.log([0.5, 0.9]).mean()]
    )


def test_rows_that_folds_share_without_being_repeats_are_refused() -> None:
    with pytest.raises(ProjectError, match="folds share held-out rows"):
        members.out_of_fold([rows(["a", "b"], [0.5, 0.5]), rows(["b", "c"], [0.5, 0.5])], "classification")


def test_a_member_is_called_as_its_preset_does() -> None:
    one = members.Member("aaaa net", [], rows(["a"], [0.5]), None, None)
    assert one.called == "aaaa net" and dataclasses.replace(one, preset="probe").called == "probe aaaa net"
