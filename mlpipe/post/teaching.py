"""Distillation targets: a teacher's calibrated predictions of images that its models did not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlpipe.errors import ProjectError, problem
from mlpipe.post import kind as post_kind
from mlpipe.post.comparison import Contender
from mlpipe.post.ensembling.member_rows import Array

KEY = "mode.ensemble"


@dataclass(frozen=True, eq=False)
class Teaching:
    """A teacher's predictions, and how a student learns from them.

    Attributes:
        teacher: The ensemble's id, the recipe's hash or the record's id.
        outputs: For each sample of the task calibrated log-probabilities, logits of labels, or numbers, float32, shape
            (n, outputs); NaN where no model of the teacher that did not learn from the sample predicted it.
        temperature: The divisor of log-probabilities and logits of teacher and student.
        hard_weight: The share of the loss of the true targets, 0 to 1.
    """

    teacher: str
    outputs: Array
    temperature: float
    hard_weight: float

    @property
    def known(self) -> Array:
        """A mask of the samples that the teacher has predictions for, shape (n,)."""
        return np.asarray(~np.isnan(self.outputs).any(axis=1))


def outputs(teacher: Contender, ids: Sequence[str], classes: int) -> Array:
    """Return a teacher's predictions of a task's samples, as `Teaching.outputs`.

    Training samples have the rows of the models that held them out, at the prevalence of these rows; samples
    without a target have those of all models; test images have none.

    Args:
        teacher: The teacher, as `mlpipe.post.comparison.contender` returns it.
        ids: The samples' names.
        classes: The number of outputs of the task.

    Raises:
        ProjectError: When the teacher predicts for every pixel, or held nothing out.
    """
    how = post_kind.of(teacher.kind).ENSEMBLING
    if how is None or not how.MIXES_COLUMNS:
        wrong = (
            f"{teacher.name} predicts no classes, labels or numbers of whole images, which alone a student can learn"
        )
        raise ProjectError(problem(KEY, wrong, fix="use mml train with the network that is wanted"))
    if teacher.held_out is None or not set(ids) & set(teacher.held_out.ids):
        wrong = f"{teacher.name} has no predictions of training images by models that held them out"
        raise ProjectError(problem(KEY, wrong, fix="train folds, then mml post mode.select_on=oof makes an ensemble"))
    place = {name: row for row, name in enumerate(ids)}
    predictions = np.full((len(ids), classes), np.nan, np.float32)
    for rows in (teacher.held_out, teacher.unlabelled):
        if rows is not None:
            own = [row for row, name in enumerate(rows.ids) if name in place]
            predictions[[place[rows.ids[row]] for row in own]] = rows.calibrated[own]
    return predictions
