"""The exact head against scikit-learn's own cross-validated estimators, and through the command line."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from mlpipe.arch import weights
from mlpipe.cli import main
from mlpipe.learn import fit, linear_head, logistic
from mlpipe.learn.build.network import build_network
from mlpipe.learn.job import Watch
from mlpipe.learn.linear_head import LinearHead, solve
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests.learn.conftest import job

HEAD = LinearHead(4, 3, 1000)
X, Y = load_digits(return_X_y=True)
X, Y = X[:300], Y[:300]
ALONE = [str(number) for number in range(len(X))]


class Scaler:
    """scikit-learn's, but that no feature is divided by less than a tenth of the median deviation."""

    def __init__(self, x: np.ndarray) -> None:
        self._plain = StandardScaler().fit(x)
        std = x.std(axis=0)
        self._share = std / np.maximum(std, 0.1 * np.median(std[std > 0]))

    def transform(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self._plain.transform(x)) * self._share


def probabilities(found: object, x: np.ndarray) -> np.ndarray:
    logits = x @ found.weight.T + found.bias  # type: ignore[attr-defined]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.program
@pytest.mark.parametrize("optimizer", ["linear", "nearest"])
def test_wrong_targets_of_training_images_are_what_is_learned(optimizer: str, tmp_path: Path) -> None:
    """A tag such as `noise?0.5` gives them; heads learned the true ones, as if there were no such tag."""
    frozen = [f"optimizer={optimizer}", "arch.freeze=true", "arch.drop_rate=0", "augmentations=none"]
    noisy, plain, clean = (job(tmp_path / name, *frozen) for name in ("noisy", "plain", "clean"))
    rows = noisy.view.train
    samples, targets = noisy.task.samples, noisy.task.samples.targets.copy()
    targets[rows] = np.random.default_rng(0).permutation(targets[rows])
    tagged = dataclasses.replace(noisy.task, samples=dataclasses.replace(samples, noisy=targets))
    # The same wrong targets as a task of its own has them: validation images have the true ones in both.
    wrong = dataclasses.replace(noisy.task, samples=dataclasses.replace(samples, targets=targets))
    scores = [
        fit.fit(dataclasses.replace(one, task=of), Watch()).scores["val"]
        for one, of in ((noisy, tagged), (plain, wrong), (clean, clean.task))
    ]
    states = [
        weights.read(one.files.project.model_dir("digits", "record") / records.WEIGHTS_FILE) for one in (noisy, plain)
    ]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert scores[0] == scores[1] and scores[0]["accuracy"] < 0.4 < scores[2]["accuracy"]


def test_classes_against_scikit_learn() -> None:
    x, y = X[Y < 4], Y[Y < 4]
    found = solve(HEAD, x, y, "classification", 4, ALONE[: len(x)], None, False, 0)
    scaled = Scaler(x).transform(x)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    model = LogisticRegressionCV(
        Cs=np.logspace(-4, 1, 4),
        cv=folds,
        scoring="neg_log_loss",
        max_iter=4000,
        tol=1e-8,
        l1_ratios=(0,),
        use_legacy_attributes=False,
    ).fit(scaled, y)
    assert found.strength == [pytest.approx(float(np.ravel(model.C_)[0]))]
    single = LogisticRegression(C=found.strength[0], max_iter=4000, tol=1e-8).fit(scaled, y)
    np.testing.assert_allclose(probabilities(found, x), single.predict_proba(scaled), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("balanced", [False, True])
def test_two_classes_are_one_log_odds(balanced: bool, weighted: bool) -> None:
    targets = (Y > 7).astype(np.int64)
    weights = np.where(Y == 1, 3.0, 1.0) if weighted else None
    found = solve(HEAD, X, targets, "classification", 2, ALONE, weights, balanced, 0)
    kind = "balanced" if balanced else None
    scaled = Scaler(X).transform(X)
    model = LogisticRegression(C=found.strength[0], max_iter=4000, tol=1e-8, class_weight=kind)
    model.fit(scaled, targets, sample_weight=weights)
    np.testing.assert_allclose(probabilities(found, X), model.predict_proba(scaled), rtol=1e-4, atol=1e-6)


def test_numbers_against_ridge() -> None:
    targets = (X @ np.linspace(-1, 1, 64) * 3 + 100 + Y)[:, None]
    found = solve(HEAD, X, targets, "regression", 1, ALONE, None, False, 0)
    scaled = Scaler(X).transform(X)
    goal = (targets[:, 0] - targets.mean()) / targets.std()
    folds = KFold(3, shuffle=True, random_state=0)
    model = RidgeCV(alphas=1 / np.logspace(-4, 1, 4), cv=folds, scoring="neg_mean_squared_error").fit(scaled, goal)
    assert found.strength == [pytest.approx(1 / model.alpha_)]
    np.testing.assert_allclose(X @ found.weight.T + found.bias, model.predict(scaled)[:, None], atol=1e-8)


def test_labels_know_nothing_of_unknown_ones() -> None:
    labels = np.stack([Y % 2, Y > 4], axis=1).astype(float)
    whole = solve(HEAD, X, labels, "multilabel", 2, ALONE, None, False, 0)
    holes = labels.copy()
    holes[:50, 0] = np.nan
    part = solve(HEAD, X, holes, "multilabel", 2, ALONE, None, False, 0)
    only = solve(HEAD, X[50:], labels[50:, :1], "multilabel", 1, ALONE[50:], None, False, 0)
    np.testing.assert_allclose(part.weight[1], whole.weight[1], atol=1e-3)
    assert not np.allclose(part.weight[0], whole.weight[0], atol=1e-3)
    assert part.strength[0] == only.strength[0]


def test_an_absent_class_is_never_predicted_and_weights_count() -> None:
    found = solve(HEAD, X, np.where(Y == 3, 4, Y), "classification", 10, ALONE, None, False, 0)
    assert probabilities(found, X)[:, 3].max() < 1e-9
    twice = solve(LinearHead(1, 2, 400), X, Y, "classification", 10, ALONE, np.where(Y == 1, 50.0, 1.0), False, 0)
    once = solve(LinearHead(1, 2, 400), X, Y, "classification", 10, ALONE, None, False, 0)
    assert probabilities(twice, X)[:, 1].mean() > probabilities(once, X)[:, 1].mean()


def test_copies_of_an_image_stay_in_one_inner_fold() -> None:
    rng = np.random.default_rng(0)
    noise, targets = rng.normal(size=(60, 200)), rng.integers(0, 2, 60)
    copies, goals = np.repeat(noise, 4, axis=0), np.repeat(targets, 4)
    names = [str(number // 4) for number in range(240)]
    kept = solve(LinearHead(3, 4, 300), copies, goals, "classification", 2, names, None, False, 0)
    split = solve(LinearHead(3, 4, 300), copies, goals, "classification", 2, [*map(str, range(240))], None, False, 0)
    # Noise cannot be learned; only copies that leak say otherwise.
    assert kept.strength[0] < split.strength[0] and kept.loss[0] > 0.6 > split.loss[0]


LINEAR = [
    "train", "task=digits", "arch=test_resnet", "arch.pretrained=false", "sys.threads=1", "preprocessing.size=16",
    "split.folds=3", "mode.nested=false", "optimizer=linear",
]  # fmt: skip


@pytest.mark.program
def test_through_the_command_line(tmp_path: Path) -> None:
    frozen = ["arch.freeze=true", "augmentations=none", "mode.subroutines=[train,predict,test]", "mode.folds=[0,2]"]
    assert main([*LINEAR, *frozen, "split.test_fraction=0.2"]) == 0
    found = records.load_all(Project(tmp_path / "results" / "default"), "digits")
    assert len(found) == 2 and all(record.val_used_for == [] and record.epochs == 1 for record in found)
    # Random features of a tiny network, yet far from chance.
    assert all(record.scores["test"]["accuracy"] > 0.5 for record in found)  # type: ignore[operator]
    assert (tmp_path / "results/default/tasks/digits/models" / found[0].id / "metrics.csv").read_text().count("\n") == 2


def test_what_it_cannot_go_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LINEAR, "loss=focal", "loss.label_smoothing=0.1"]) == 2
    told = capsys.readouterr().err
    assert "optimizer=linear: fits the head of a frozen backbone" in told and "arch.freeze=true" in told
    assert "augmentations=none" in told and "loss" in told


def test_small_fits_use_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    basis = logistic.basis

    def noted(features: np.ndarray) -> logistic.Basis:
        used.append(max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"))
        return basis(features)

    monkeypatch.setattr(logistic, "basis", noted)
    with threadpool_limits(limits=2):
        solve(LinearHead(1, 2, 5), X, Y, "classification", 10, ALONE, None, False, 0)
        monkeypatch.setattr(linear_head, "_SMALL", 300 * 64 * 10)
        solve(LinearHead(1, 2, 5), X, Y, "classification", 10, ALONE, None, False, 0)
    assert used[0] == 1 and used[1] >= used[0]
    assert used[1] == 2 or (os.cpu_count() or 1) < 2


def test_folds_at_once_change_nothing() -> None:
    alone, together = (
        solve(LinearHead(3, 4, 100), X, Y, "classification", 10, ALONE, None, False, 0, threads=threads)
        for threads in (1, 3)
    )
    assert np.array_equal(alone.weight, together.weight) and alone.strength == together.strength


def test_the_last_fit_starts_at_the_mean_of_the_folds_only_if_all_know_every_class() -> None:
    y, ends = np.array([0, 0, 1, 1, 2, 2]), [np.zeros((3, 2)), np.full((3, 2), 2.0)]
    halves = [(np.array([0, 2, 4]), np.array([1, 3, 5])), (np.array([1, 3, 5]), np.array([0, 2, 4]))]
    start = linear_head._mean_end(ends, y, halves)
    assert start is not None and np.array_equal(start, np.ones((3, 2)))
    others = [(np.array([0, 1, 2, 3]), np.array([4, 5])), (np.array([2, 3, 4, 5]), np.array([0, 1]))]
    assert linear_head._mean_end([np.zeros((1, 2))] * 2, y, others) is None
    assert linear_head._mean_end([None, np.zeros((3, 2))], y, halves) is None


@pytest.mark.program
def test_flips_are_rows_of_half_the_weight() -> None:
    views = np.stack([X, X.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)], axis=1)
    found = solve(HEAD, views, Y, "classification", 10, ALONE, None, False, 0)
    stacked, twice, halves = np.concatenate([X, views[:, 1]]), np.tile(Y, 2), np.full(2 * len(X), 0.5)
    scaler = Scaler(stacked)
    # The strength with the least loss of the mean of both views' logits in folds that no image shares with its mirror image.
    losses = []
    for strength in np.logspace(-4, 1, 4):
        of_folds = []
        for learns, held in StratifiedKFold(3, shuffle=True, random_state=0).split(X, Y):
            model = LogisticRegression(C=strength, max_iter=4000, tol=1e-8)
            both = scaler.transform(views[learns].reshape(-1, 64))
            model.fit(both, np.repeat(Y[learns], 2), sample_weight=halves[: len(both)])
            logits = np.mean([model.decision_function(scaler.transform(views[held, side])) for side in (0, 1)], axis=0)
            of_folds.append(log_loss(Y[held], softmax(logits, axis=1), labels=model.classes_))
        losses.append(np.mean(of_folds))
    assert found.strength == [pytest.approx(np.logspace(-4, 1, 4)[int(np.argmin(losses))])]
    assert found.loss[0] == pytest.approx(min(losses), rel=5e-3)
    single = LogisticRegression(C=found.strength[0], max_iter=4000, tol=1e-8)
    single.fit(scaler.transform(stacked), twice, sample_weight=halves)
    np.testing.assert_allclose(probabilities(found, X), single.predict_proba(scaler.transform(X)), rtol=1e-4, atol=1e-6)
    with_weights = solve(HEAD, views, Y, "classification", 10, ALONE, np.full(len(X), 1.0), False, 0)
    np.testing.assert_allclose(with_weights.weight, found.weight, atol=1e-9)


@pytest.mark.program
def test_flips_predict_the_mean_of_both_views(tmp_path: Path) -> None:
    one = job(tmp_path, "arch.freeze=true", "augmentations=none", "optimizer=linear", "optimizer.flips=true")
    record = fit.fit(one, Watch())
    rows = one.view.val
    network = build_network(one.recipe, one.task, one.pack, seed=1, pretrained=False).eval()
    weights.load(network, weights.read(one.files.project.model_dir("digits", record.id) / "weights.safetensors"))
    images = torch.from_numpy(np.ascontiguousarray(one.pack.images[rows].transpose(0, 3, 1, 2)))
    with torch.no_grad():
        shown = network(images)["target"]
        plain = network.heads["target"](network.view_features(images))  # type: ignore[index, operator]
        mirrored = network.heads["target"](network.view_features(images.flip(3)))  # type: ignore[index, operator]
    np.testing.assert_allclose(shown, (plain + mirrored) / 2, atol=1e-4)
    accuracy = float((shown.argmax(1).numpy() == one.task.samples.targets[rows]).mean())
    assert record.scores["val"]["accuracy"] == pytest.approx(accuracy, abs=1e-9)


def test_a_feature_that_was_silent_in_training_does_not_decide() -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(120, 30)), rng.integers(0, 2, 120)
    features[:, 0] += 2 * targets
    # In one training image a little, in a new one as much as others.
    features[:, 1], features[0, 1] = 0, 1e-4
    found = solve(
        LinearHead(3, 3, 300), features, targets, "classification", 2, [*map(str, range(120))], None, False, 0
    )
    new = rng.normal(size=(50, 30))
    silent = new.copy()
    silent[:, 1] = 0
    np.testing.assert_allclose(probabilities(found, new), probabilities(found, silent), atol=0.01)


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_what_no_training_image_tells_is_even_odds_or_the_mean(kind: str) -> None:
    drawn = np.random.default_rng(0)
    x, known = drawn.normal(size=(12, 5)), (np.arange(12) % 2).astype(float)
    head, units = LinearHead(4, 3, 50), [str(number) for number in range(12)]
    alone = solve(head, x, known[:, None], kind, 1, units, None, False, 0)
    both = solve(head, x, np.stack([known, np.full(12, np.nan)], 1), kind, 2, units, None, False, 0)
    assert both.weight[0] == pytest.approx(alone.weight[0]) and both.bias[0] == pytest.approx(alone.bias[0])
    assert not both.weight[1].any() and both.bias[1] == 0
    assert both.mean_loss == pytest.approx(alone.mean_loss)


def test_a_number_that_never_differs_is_its_mean() -> None:
    x, units = np.random.default_rng(0).normal(size=(12, 5)), [str(number) for number in range(12)]
    found = solve(LinearHead(4, 3, 50), x, np.full((12, 1), 0.1), "regression", 1, units, None, False, 0)
    assert found.bias == pytest.approx([0.0], abs=1e-12) and not found.weight.any()


def test_balanced_weights_are_scikit_learns_and_finite_for_a_class_of_weight_zero() -> None:
    from sklearn.utils.class_weight import compute_sample_weight

    y, own = np.array([3, 3, 3, 5, 5, 9]), np.array([1.0, 2.0, 0.5, 1.0, 4.0, 2.0])
    assert linear_head.class_weighted(y, None) == pytest.approx(compute_sample_weight("balanced", y))
    weights = linear_head.class_weighted(y, own)
    assert [weights[y == number].sum() for number in (3, 5, 9)] == pytest.approx([3.5] * 3)
    # All rows of one class weigh nothing: the others share everything.
    none = linear_head.class_weighted(y, np.where(y == 9, 0.0, own))
    assert [none[y == number].sum() for number in (3, 5, 9)] == pytest.approx([4.25, 4.25, 0.0])
