"""Which of several models a transfer starts from."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mlpipe.config import snapshot
from mlpipe.errors import ProjectError
from mlpipe.running import launch, reuse
from mlpipe.runs.project import Project
from mlpipe.runs.references import Located
from tests.build import DIGITS, make_record, models


@pytest.mark.parametrize(
    ("how", "losses", "expected"),
    [
        ("performance", [float("nan"), 0.5, 0.3, float("inf")], 2),
        ("performance", [0.3, float("nan"), 0.5], 0),
        ("performance", [0.3, None, 0.3], 2),
        ("created", [0.1, 0.2, float("nan")], 2),
    ],
)
def test_the_choice_of_a_model(tmp_path: Path, how: str, losses: list[float | None], expected: int) -> None:
    candidates = models(tmp_path, losses)
    for order in (candidates, candidates[::-1]):
        assert reuse.choose(order, how, seed=0).record.id == f"net-{expected}"


def test_a_random_choice_is_the_seeds_and_nobody_elses(tmp_path: Path) -> None:
    """F9: the reference draws from the unseeded generator of the process."""
    candidates, drawn = models(tmp_path, [0.1, 0.2, 0.3]), []
    for seed in range(12):
        random.seed(seed)
        drawn.append({reuse.choose(order, "random", 5).record.id for order in (candidates, candidates[::-1])})
    assert all(choice == drawn[0] for choice in drawn) and len(drawn[0]) == 1
    assert {reuse.choose(candidates, "random", seed).record.id for seed in range(30)} == {"net-0", "net-1", "net-2"}


def test_no_finite_loss_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no model has a finite validation loss; use mode.model_selection=created"):
        reuse.choose(models(tmp_path, [float("nan"), None]), "performance", 0)


def of_losses(tmp_path: Path, scores: list[dict[str, float]], losses: list[str]) -> list[Located]:
    """Models of recipes of their own with these scores of validation and losses."""
    project, found = Project(tmp_path / "results" / "default"), []
    for place, (of_val, loss) in enumerate(zip(scores, losses, strict=True)):
        tree = launch.prepare(launch.Command("train", [*DIGITS, f"loss={loss}"])).run_config.tree
        record = make_record(
            project, f"net-{place}", scores={"val": of_val}, recipe=str(place), config=snapshot.text(tree)
        )
        found.append(Located(project, record))
    return found


def test_models_of_different_losses_are_compared_by_another_metric(tmp_path: Path) -> None:
    scores = [{"loss": 0.4, "nll": 1.1, "accuracy": 0.9}, {"loss": 1.0, "nll": 1.0, "accuracy": 0.8}]
    mixed = of_losses(tmp_path, scores, ["focal", "ce"])
    assert (reuse.measure(mixed), reuse.choose(mixed, "performance", 0).record.id) == ("nll", "net-1")
    alike = of_losses(tmp_path / "alike", scores, ["ce", "ce"])
    assert (reuse.measure(alike), reuse.choose(alike, "performance", 0).record.id) == ("loss", "net-0")
    without = of_losses(tmp_path / "without", [{"loss": 0.4, "accuracy": 0.9}, scores[1]], ["focal", "ce"])
    assert (reuse.measure(without), reuse.choose(without, "performance", 0).record.id) == ("accuracy", "net-0")
    nothing = of_losses(tmp_path / "nothing", [{"loss": 0.4}, {"loss": 1.0}], ["focal", "ce"])
    with pytest.raises(ProjectError, match="trained with different losses, whose values cannot be compared"):
        reuse.choose(nothing, "performance", 0)
