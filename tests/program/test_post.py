"""`mml post` on projects of made-up predictions: what is learned from which rows, what is stored, what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe.cli import main
from mlpipe.data import task
from mlpipe.data.splits import variants
from mlpipe.data.splits.methods import kfold
from mlpipe.data.task import Row, Task
from mlpipe.post.measures import class_metrics
from mlpipe.running import task_names
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

RNG = np.random.default_rng


def make_task(
    data_dir: Path, kind: str = "classification", n: int = 600, shares: tuple[float, ...] = (0.6, 0.4)
) -> Task:
    """A task without images: training, test and unlabelled rows, the last two with another prevalence."""
    rng, rows = RNG(0), list[Row]()
    for part, count, prevalence in (
        ("train", n, shares),
        ("test", n // 2, shares[::-1]),
        ("unlabelled", n // 2, shares[::-1]),
    ):
        for index in range(count):
            target: Any = int(rng.choice(len(shares), p=prevalence))
            if kind == "multilabel":
                target = tuple((rng.random(2) < 0.4).astype(float).tolist())
            elif kind == "regression":
                target = (float(rng.normal(50, 10)),)
            if part == "unlabelled":
                target = -1 if kind == "classification" else (float("nan"),) * len(target)
            rows.append(Row(f"{part}/{index:04d}", part, target, f"{part}{index}"))  # type: ignore[arg-type]
    names = ["a", "b", "c"][: len(shares)] if kind == "classification" else ["u", "v"][: len(rows[0].target)]  # type: ignore[arg-type]
    made = task.make("made", names, rows, channels=1, source={"type": "folder", "root": "/gone"}, kind=kind)  # type: ignore[arg-type]
    task.save(made, task_names.file_of(data_dir, "made"))
    return made


def outputs(of: Task, rows: np.ndarray, seed: int, sharpness: float, truth: np.ndarray) -> np.ndarray:
    """Logits with the right direction, made too sure by `sharpness`."""
    rng, targets = RNG(seed), truth[rows]
    if of.kind == "regression":
        return targets + rng.normal(0, 4, targets.shape)
    if of.kind == "multilabel":
        return sharpness * (2 * targets - 1 + rng.normal(0, 1.2, targets.shape))
    scores = rng.normal(0, 1.2, (len(rows), len(of.classes))) + RNG(9).normal(0, 1.2, (9000, 2))[rows]
    scores[np.arange(len(rows)), targets] += 1.5
    return sharpness * scores


def make_project(folder: Path, of: Task, recipes: dict[str, float], *, nested: bool = False, folds: int = 3) -> Project:
    """One record for each recipe and fold, with predictions of its validation, test and unlabelled rows."""
    project, split, hidden = Project(folder / "default"), kfold(of.samples, folds=folds), of.samples.targets.copy()
    unknown = of.samples.in_part("unlabelled")
    hidden[unknown] = RNG(1).integers(0, 2, hidden[unknown].shape) if of.kind != "regression" else 50
    if of.kind == "classification":
        test = of.samples.targets[of.samples.in_part("test")]
        hidden[unknown] = RNG(1).choice(len(of.classes), int(unknown.sum()), p=np.bincount(test) / len(test))
    for number, (recipe, sharpness) in enumerate(recipes.items()):
        for fold in range(folds):
            view = (variants.nested if nested else variants.plain)(of, split, fold)
            record = ModelRecord(
                id=f"{recipe}-{fold}", number=0, run="r", created="now", task=view.task, pivot=of.name, fold=fold, nested=nested,
                recipe=recipe, arch="net", classes=list(of.classes), parameters=1, kind=of.kind,
                counts={"train": len(view.train)}, scores={"val": {}},
                best_epoch=0, epochs=1, monitor="val/loss (min)", val_used_for=[], timings={}, environment={}, weights=None,
            )  # fmt: skip
            records.save(project, record)
            plain = variants.plain(of, split, fold)
            wanted = [(view.task, name, view.rows()[name]) for name in ("val", "test", "unlabelled")]
            if nested:
                wanted += [(of.name, name, plain.rows()[name]) for name in ("test", "unlabelled")]
            with predictions.writer(project.predictions_file(of.name, record.id), (), of.kind) as sink:
                for name, part, rows in wanted:
                    if len(rows):
                        seed = 1000 * number + 10 * fold + len(part)
                        logits = outputs(of, rows, seed, sharpness, hidden).astype(np.float32)
                        ids = [of.samples.ids[row] for row in rows]
                        sink.add(name, part, fold, ids, of.samples.targets[rows], logits)
    return project


def post(folder: Path, *arguments: str) -> int:
    return main(
        ["post", "task=made", f"out_dir={folder}", f"data_dir={folder / 'data'}", "mode.report=false", *arguments]
    )


def only_ensemble(project: Project) -> ensembles.EnsembleRecord:
    (record,) = ensembles.load_all(project, "made")
    return record


@pytest.mark.parametrize("nested", [False, True])
def test_calibrated_and_ensembled(tmp_path: Path, nested: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """F2: an ensemble was stored as one row for each split."""
    of = make_task(tmp_path / "data")
    project = make_project(tmp_path, of, {"one": 4.0, "two": 3.0, "three": 0.3}, nested=nested)
    assert post(tmp_path) == 0
    record = only_ensemble(project)
    stored = predictions.load(project.ensembles_dir("made") / f"{record.id}.parquet", "made", "test")
    assert stored.calibrated is not None and len(stored) == 300
    single = predictions.load(project.predictions_file("made", "one-0"), "made", "test")
    assert single.calibrated is not None
    nll = [
        class_metrics.nll(values, stored.targets) for values in (single.logits, single.calibrated, stored.calibrated)
    ]
    assert nll[0] > nll[1] > nll[2]
    assert sum(member["weight"] for member in record.members) == pytest.approx(1)
    assert record.scores["test"]["nll"]["value"] == pytest.approx(nll[2], abs=1e-6)
    low, high = record.scores["test"]["accuracy"]["low"], record.scores["test"]["accuracy"]["high"]
    assert low < record.scores["test"]["accuracy"]["value"] < high
    # Every row of every split is there, not one row for each split.
    contents = predictions.contents(project.ensembles_dir("made") / f"{record.id}.parquet")
    assert contents == {("made", "val"): 600, ("made", "test"): 300, ("made", "unlabelled"): 300}
    assert "ensemble (search" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
@pytest.mark.parametrize("better", [False, True])
def test_a_newest_recipe_of_one_fold_leaves_the_other_rows_unused_only_where_it_is_better(
    tmp_path: Path, kind: str, better: bool
) -> None:
    """The mixture was chosen by the rows of the newest recipe, a fifth of them, even where it had no weight in it."""
    of = make_task(tmp_path / "data", kind=kind)
    project = make_project(tmp_path, of, {"one": 0.8, "late": 0.8})
    keep(project, "late", {0})
    path = project.predictions_file("made", "late-0")
    rows = predictions.load(path, "made", "val")
    near = rows.targets if rows.targets.ndim == 2 else np.eye(2)[rows.targets]
    shown = near if kind == "regression" else 8 * near - 4
    if not better:
        # What says nothing of its images.
        shown = RNG(6).permutation(shown)
    with predictions.writer(path, {("made", "val")}, kind) as sink:
        sink.add("made", "val", 0, rows.sample_ids, rows.targets, shown.astype(np.float32))
    assert post(tmp_path) == 0
    record = only_ensemble(project)
    chose = predictions.load(project.ensembles_dir("made") / f"{record.id}.parquet", "made", "val")
    assert len(chose) == (200 if better else 600)
    assert any(member["name"].startswith("late") for member in record.members) == better
    assert any("all 600 held-out rows choose, not 200 of them" in note for note in record.notes) != better


def keep(project: Project, recipe: str, folds: set[int]) -> None:
    """Leave a recipe some of its folds."""
    for fold in {0, 1, 2} - folds:
        project.predictions_file("made", f"{recipe}-{fold}").unlink()
        shutil.rmtree(project.model_dir("made", f"{recipe}-{fold}"))


def test_a_newest_recipe_that_holds_out_other_rows_is_not_compared_with_those_that_lack_them(tmp_path: Path) -> None:
    """It has fewer rows than another recipe, which has none of them: an unexpected error."""
    of = make_task(tmp_path / "data")
    project = make_project(tmp_path, of, {"one": 0.8, "late": 0.8})
    keep(project, "one", {0, 1})
    keep(project, "late", {2})
    assert post(tmp_path) == 0
    record = only_ensemble(project)
    assert [member["name"] for member in record.members] == ["late net"]
    assert "one net is left out: it lacks rows that late net has" in record.notes


@pytest.mark.parametrize(("slow", "rows"), [("one", 200), ("late", 600)])
def test_what_is_too_slow_leaves_the_choice_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str, rows: int
) -> None:
    of = make_task(tmp_path / "data")
    project = make_project(tmp_path, of, {"one": 0.8, "late": 0.8})
    keep(project, "late", {0})
    monkeypatch.setattr("mlpipe.runs.costs.records_without_cost", lambda *_: [])
    monkeypatch.setattr("mlpipe.runs.costs.milliseconds", lambda _, found: 9.0 if found[0].recipe == slow else 1.0)
    assert post(tmp_path, "mode.most_ms=5") == 0
    record = only_ensemble(project)
    chose = predictions.load(project.ensembles_dir("made") / f"{record.id}.parquet", "made", "val")
    assert len(chose) == rows and slow not in str(record.members)
    wrong = "mode.most_ms: the quickest member takes 9 ms for an image"
    assert any(f"200 held-out rows choose, no others can: {wrong}" in note for note in record.notes) == (slow == "one")
    assert post(tmp_path, "mode.most_ms=0.5") != 0


def test_test_labels_are_not_used(tmp_path: Path) -> None:
    """F6: error rates of prior=quantify came from test labels."""
    results = []
    for name, flip in (("a", False), ("b", True)):
        of = make_task(tmp_path / name / "data")
        project = make_project(tmp_path / name, of, {"one": 4.0, "two": 3.0})
        if flip:
            for path in project.tasks_dir().rglob("predictions/*.parquet"):
                flipped = predictions.load(path, "made", "test")
                with predictions.writer(path, {("made", "test")}, "classification") as sink:
                    sink.add("made", "test", 0, flipped.sample_ids, 1 - flipped.targets, flipped.logits)
        assert post(tmp_path / name) == 0
        record = only_ensemble(project)
        stored = predictions.load(project.ensembles_dir("made") / f"{record.id}.parquet", "made", "test")
        results.append((record.members, record.calibration, stored.calibrated))
    assert results[0][:2] == results[1][:2] and np.array_equal(results[0][2], results[1][2])  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", ["before", "both", "after"])
@pytest.mark.parametrize("wanted", ["[0.4,0.6]", "quantify", "test"])
def test_a_prior_reaches_the_final_probabilities_at_every_stage(tmp_path: Path, stage: str, wanted: str) -> None:
    """The test part has shares of .4 and .6, the training part .6 and .4."""
    of = make_task(tmp_path / "data", n=3000)
    project = make_project(tmp_path, of, {"one": 4.0, "two": 0.5})
    assert post(tmp_path, "proj=default", f"mode.stage={stage}") == 0
    assert post(tmp_path, f"mode.prior={wanted}", f"mode.stage={stage}") == 0
    plain, moved = ensembles.load_all(project, "made")
    assert plain.prior["values"][0] == pytest.approx(0.6, abs=0.04)
    assert moved.prior["values"][0] == pytest.approx(0.4, abs=0.12)
    assert moved.scores["test"]["nll"]["value"] < plain.scores["test"]["nll"]["value"]
    means = []
    for record in (plain, moved):
        stored = predictions.load(project.ensembles_dir("made") / f"{record.id}.parquet", "made", "test")
        assert stored.calibrated is not None
        means.append(float(np.exp(stored.calibrated[:, 0]).mean()))
    assert means[1] < means[0] and means[1] == pytest.approx(0.4, abs=0.12)
    # Out-of-fold rows keep their own prevalence: both losses are those of the same question.
    losses = [record.scores["chosen on"]["nll"]["value"] for record in (plain, moved)]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)
    found = moved.decide["prevalence"]["unlabelled"]
    assert found["low"][0] < 0.4 < found["high"][0] and found["gap"] < 1e-8
    assert abs(found["by_likelihood"][0] - found["values"][0]) < 0.1
    assert moved.decide["sets"]["observed_coverage"] > 0.85


def test_probabilities_that_are_right_are_left_as_they_are(tmp_path: Path) -> None:
    results = {}
    for name, sharpness in (("right", 0.52), ("too-sharp", 4.0)):
        of = make_task(tmp_path / name / "data")
        project = make_project(tmp_path / name, of, {"one": sharpness})
        assert post(tmp_path / name) == 0
        record = results[name] = only_ensemble(project)
        stored = predictions.load(project.ensembles_dir("made") / f"{record.id}.parquet", "made", "test")
        assert stored.calibrated is not None
        left = np.allclose(stored.calibrated, class_metrics.log_softmax(stored.logits), atol=1e-5)
        assert left == (record.stage == "none")
    assert results["right"].stage == "none" and not results["right"].calibrations
    assert any("left as they are" in note for note in results["right"].notes)
    assert results["too-sharp"].stage == "before"
    tried = results["right"].losses["stages"]
    assert set(tried) == {"none", "before", "both", "after"} and tried["none"] < tried["before"] + 0.01


def test_nothing_calibrated_has_no_prior(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_project(tmp_path, make_task(tmp_path / "data"), {"one": 1.0})
    assert post(tmp_path, "mode.stage=none", "mode.prior=[0.5,0.5]") == 2
    assert "mode.stage: nothing would be calibrated for mode.prior" in capsys.readouterr().err


def test_decisions_that_cost_least(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = make_project(tmp_path, make_task(tmp_path / "data"), {"one": 2.0})
    assert post(tmp_path, "mode.costs=[[0,1],[20,0]]") == 0
    decided = only_ensemble(project).decide
    costs = decided["costs"]
    assert costs["each"] < costs["most_probable"] and 0 < costs["normalised"] < 1
    assert costs["table"] == [[0, 1], [20, 0]]
    assert "cost of the decisions that cost least" in capsys.readouterr().out
    assert set(only_ensemble(project).scores["test"]) >= {"mcc", "kappa", "average_precision"}
    assert len(decided["calibration_error"]["measures"]) == 5
    for wrong, told in (
        ("mode.costs=[[0,1]]", "give 2 rows"),
        ("mode.threshold=cost", "needs mode.costs, got 'cost'; give mode.costs in its place"),
    ):
        assert post(tmp_path, wrong) == 2
        assert told in capsys.readouterr().err


def test_labels_cut_where_errors_cost_least(tmp_path: Path) -> None:
    project = make_project(tmp_path, make_task(tmp_path / "data", "multilabel"), {"one": 1.0})
    # Youden's cut of a label that is moved to another share of yes moves with it.
    assert post(tmp_path, "mode.threshold=youden", "mode.prior=[0.2,0.9]") == 0
    moved = ensembles.load_all(project, "made")[-1].decide["thresholds"]["cuts"]
    assert moved["u"] < 0.5 < moved["v"]
    cuts = []
    for costs in ("[[0,1],[9,0]]", "[[0,9],[1,0]]"):
        assert post(tmp_path, "mode.threshold=cost", f"mode.costs={costs}") == 0
        cuts.append(ensembles.load_all(project, "made")[-1].decide["thresholds"]["cuts"])
    assert all(cuts[0][name] < 0.5 < cuts[1][name] for name in ("u", "v"))


@pytest.mark.parametrize("wanted", ["val", "[0.4,0.6]"])
def test_sets_that_promise_each_class_its_share(
    tmp_path: Path, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nine rows in ten are of class a: over all rows the promise is kept by failing the rows of class b."""
    of = make_task(tmp_path / "data", n=3000, shares=(0.9, 0.1))
    project = make_project(tmp_path, of, {"one": 1.0}, folds=2)
    assert post(tmp_path) == 0
    assert post(tmp_path, "mode.set_coverage=class", f"mode.prior={wanted}") == 0
    marginal, by_class = (one.decide["sets"] for one in ensembles.load_all(project, "made"))
    assert len(set(marginal["cuts"])) == 1 < len(set(by_class["cuts"]))
    assert min(marginal["observed_by_class"]) < 0.8
    # 1,350 and 150 test rows, after a shift of the prevalence: a share of .9 has a standard error of up to .025.
    assert by_class["observed_by_class"] == pytest.approx([0.9, 0.9], abs=0.08)
    assert "each class is in its rows' sets" in by_class["guarantee"]
    assert "for each class by itself" in capsys.readouterr().out


def test_a_promise_to_each_class_is_for_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_project(tmp_path, make_task(tmp_path / "data", kind="multilabel"), {"one": 1.0}, folds=2)
    assert post(tmp_path, "mode.set_coverage=class") == 2
    assert "mode.set_coverage: is for classes, this task is multilabel; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("quantifier", ["pacc", "bbse", "em", "cc"])
def test_quantifiers(tmp_path: Path, quantifier: str) -> None:
    of = make_task(tmp_path / "data")
    project = make_project(tmp_path, of, {"one": 4.0})
    assert post(tmp_path, "mode.prior=quantify", f"mode.quantifier={quantifier}", "mode.subroutines=[calibrate]") == 0
    stored = json.loads(project.calibration_file("made", "one-0").read_text())["prior"]
    if quantifier != "cc":
        assert stored["low"][0] - 0.02 < 0.4 < stored["high"][0] + 0.02
    assert stored["values"][0] < 0.55


def test_priors(tmp_path: Path) -> None:
    of = make_task(tmp_path / "data", n=2000)
    project = make_project(tmp_path, of, {"one": 1.0})
    nll = {}
    for wanted in ("val", "test", "quantify", "[0.4,0.6]"):
        assert post(tmp_path, f"mode.prior={wanted}", "mode.subroutines=[calibrate]") == 0
        rows = predictions.load(project.predictions_file("made", "one-0"), "made", "test")
        assert rows.calibrated is not None
        nll[wanted] = class_metrics.nll(rows.calibrated, rows.targets)
        stored = json.loads(project.calibration_file("made", "one-0").read_text())
        if wanted == "quantify":
            assert stored["prior"]["low"][0] < 0.4 < stored["prior"]["high"][0]
    # The test rows have another prevalence: probabilities that are meant for it are better there.
    assert max(nll["test"], nll["quantify"], nll["[0.4,0.6]"]) < nll["val"]


def test_a_list_that_does_not_sum_to_one_is_scaled_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path, make_task(tmp_path / "data", n=80), {"one": 2.0}, folds=2)
    assert post(tmp_path, "mode.prior=[30,10]") == 0
    sentence = "mode.prior: the shares sum to 40, not to 1; they are scaled: a 0.75, b 0.25"
    assert sentence in capsys.readouterr().out
    record = only_ensemble(project)
    assert record.prior["values"] == pytest.approx([0.75, 0.25]) and sentence in record.notes


def test_select_on_test_keeps_the_estimate_apart(tmp_path: Path) -> None:
    of = make_task(tmp_path / "data")
    project = make_project(tmp_path, of, {"one": 4.0, "two": 3.0})
    assert post(tmp_path, "mode.eval_frac=0.3", "mode.weights_budget=0", "mode.threshold=f1") == 0
    record = only_ensemble(project)
    assert record.select_on == "test" and {len(member["records"]) for member in record.members} == {1}
    weights = [member["weight"] for member in record.members]
    assert weights == pytest.approx([1 / len(weights)] * len(weights))
    assert record.decide["sets"]["rows"] == 90
    assert record.losses["held_out"] is not None


def test_one_model_is_the_ensemble_and_a_broken_one_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = make_task(tmp_path / "data")
    project = make_project(tmp_path, of, {"one": 2.0})
    assert post(tmp_path) == 0
    assert [member["weight"] for member in only_ensemble(project).members] == [1.0]
    make_project(tmp_path, of, {"nan": float("nan")})
    capsys.readouterr()
    assert post(tmp_path) == 0
    captured = capsys.readouterr()
    assert "nan-0: left as it is" in captured.err + captured.out
    newest = ensembles.load_all(project, "made")[-1]
    assert [member["name"] for member in newest.members] == ["one net"]
    assert any("not finite" in note for note in newest.notes)


def test_labels_and_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("multilabel", "regression"):
        folder = tmp_path / kind
        of = make_task(folder / "data", kind)
        project = make_project(folder, of, {"one": 4.0, "two": 0.5})
        assert post(folder, "mode.threshold=f1" if kind == "multilabel" else "mode.alpha=0.2") == 0
        record = only_ensemble(project)
        assert record.kind == kind and record.scores["test"]
        if kind == "regression":
            half = record.decide["halfwidths"]["u"]
            stored = predictions.load(project.ensembles_dir("made") / f"{record.id}.parquet", "made", "test")
            assert (np.abs(stored.logits - stored.targets) <= half).mean() > 0.78
        else:
            assert set(record.decide["thresholds"]["cuts"]) == {"u", "v"}
        capsys.readouterr()
        assert post(folder, "mode.prior=quantify") == 2
        assert "mode.prior: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mode.prior=[0.5,0.3,0.2]"], "mode.prior: has another length than there are classes"),
        (["mode.prior=[0.5,-0.5]"], "mode.prior: every share must be positive"),
        (["mode.shrinkage=strong"], "mode.shrinkage: is no strength"),
        (["mode.prior=tset"], "mode.prior: must be one of"),
        (["mode.budget=0"], "mode.budget: must be a whole number >= 1"),
        (["mode.temperature=2"], "mode.temperature: must be a number >= 0 and <= 1"),
        (["mode.calibrator=platt"], "mode.calibrator: must be one of"),
        (["mode.subroutines=[calibrate,ensembel]"], "did you mean 'ensemble'?"),
    ],
)
def test_wrong_wishes_are_refused(
    tmp_path: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    of = make_task(tmp_path / "data")
    make_project(tmp_path, of, {"one": 2.0}, folds=2)
    assert post(tmp_path, *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_predictions_of_other_samples_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = make_project(tmp_path, make_task(tmp_path / "data"), {"one": 2.0}, folds=2)
    path = project.predictions_file("made", "one-1")
    test = predictions.load(path, "made", "test")
    with predictions.writer(path, (), "classification") as sink:
        names = ["elsewhere/1.png", *test.sample_ids[1:]]
        sink.add("made", "test", 1, names, test.targets, test.logits)
    assert post(tmp_path) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(
        f"{path}: has predictions of samples that task made does not have: elsewhere/1.png; remove"
    )


def test_without_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_task(tmp_path / "data")
    assert post(tmp_path) == 2
    assert "project default has no trained record of it; mml train task=made" in capsys.readouterr().err


@pytest.mark.parametrize("report", [True, False])
def test_no_torch_and_no_matplotlib_without_a_report(tmp_path: Path, report: bool) -> None:
    of = make_task(tmp_path / "data")
    make_project(tmp_path, of, {"one": 2.0, "two": 1.0}, folds=2)
    heavy = {"torch", "sklearn", "pytorch_lightning", *(() if report else ("matplotlib",))}
    code = (
        "import sys; from mlpipe.cli import main; "
        f"code = main(['post', 'task=made', 'out_dir={tmp_path}', 'data_dir={tmp_path / 'data'}', 'mode.report={report}']); "
        f"heavy = {heavy} & set(sys.modules); assert not heavy, heavy; sys.exit(code)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (tmp_path / "default" / "reports" / "report.html").is_file() == report


def test_info_writes_the_report_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = make_task(tmp_path / "data", n=60)
    project = make_project(tmp_path, of, {"one": 2.0}, folds=2)
    arguments = ["task=made", f"out_dir={tmp_path}", f"data_dir={tmp_path / 'data'}", "mode.subroutines=[report]"]
    assert main(["info", *arguments]) == 0
    path = project.reports_dir() / "report.html"
    assert f"look at: {path}" in capsys.readouterr().out and path.is_file()
    assert not project.runs_dir().exists()
