"""`mml post mode.search=soup`: the mean of weights by hand, the order by hand, and that the result is an ordinary record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch.optim.swa_utils import update_bn

from mlpipe import files
from mlpipe.api import load
from mlpipe.arch import weights
from mlpipe.cli import main
from mlpipe.data import sources
from mlpipe.learn.build.network import build_network
from mlpipe.reports import tables
from mlpipe.running import launch, tasks
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from tests.build import DIGITS

TRAIN = [*DIGITS, "mode.nested=false", "split.test_fraction=0.8", "mode.subroutines=[train,predict,test]"]


def places(folder: Path) -> list[str]:
    return [f"out_dir={folder / 'results'}", f"data_dir={folder / 'data'}"]


def averaged(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["post", "task=digits", "mode.search=soup", *words, "--json", *places(folder)]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes that begin alike."""
    folder = tmp_path_factory.mktemp("soup")
    for more in ("optimizer.lr=0.001", "optimizer.lr=0.002"):
        assert main(["train", *TRAIN, more, *places(folder)]) == 0
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path, dirs_exist_ok=True))


def of_soup(folder: Path) -> tuple[Project, list[ModelRecord]]:
    project = Project(folder / "results/default")
    return project, [one for one in records.load_all(project) if one.averaged]


def nll(project: Project, found: list[ModelRecord]) -> float:
    """The mean of -log of the true class's probability over the validation rows of some folds."""
    parts = [predictions.load(project.predictions_file("digits", one.id), "digits", "val") for one in found]
    logits = np.concatenate([part.logits for part in parts]).astype(np.float64)
    targets = np.concatenate([part.targets for part in parts])
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(targets)), targets]))


def test_weights_order_and_statistics_by_hand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = averaged(folder, capsys, "mode.report=false")
    project, made = of_soup(folder)
    trained = [one for one in records.load_all(project) if not one.averaged]
    groups = {recipe: [one for one in trained if one.recipe == recipe] for recipe in {one.recipe for one in trained}}
    alone = {f"{recipe} test_resnet": nll(project, folds) for recipe, folds in groups.items()}
    shared = sorted(alone, key=alone.__getitem__)
    assert facts["soup"]["members"] == shared and facts["soup"]["losses"] == pytest.approx(
        {n: alone[n] for n in shared}
    )
    assert facts["soup"]["loss"] == pytest.approx(nll(project, made), rel=1e-6) and facts["soup"]["loss"] <= min(
        alone[n] for n in shared
    )
    for fold, record in enumerate(made):
        of_fold = [next(one for one in groups[name.split()[0]] if one.fold == fold) for name in shared]
        assert record.averaged == [one.id for one in of_fold] and record.fold == fold
        paths = [project.model_dir("digits", one.id) / "weights.safetensors" for one in (record, *of_fold)]
        mean, *states = map(load_file, paths)
        assert record.weights == files.digest_file(paths[0])
        learned = [name for name in mean if "running" not in name and "batches" not in name]
        for name in learned:
            wanted = np.mean([state[name].astype(np.float64) for state in states], axis=0).astype(np.float32)
            np.testing.assert_array_equal(mean[name], wanted)
        # PyTorch's own way to the statistics, on the images in the order in which they are drawn.
        config = launch.prepare(launch.Command("train", [*TRAIN, *places(folder)])).run_config
        task = tasks.pivot(config)
        pack, split = tasks.pack_of(config, task), tasks.split_of(config, task)
        network = build_network(config.recipe, task, pack, seed=0, pretrained=False)
        weights.load(network, {name: torch.from_numpy(value) for name, value in mean.items()})
        rows = np.random.default_rng(config.recipe.seed).permutation(
            np.flatnonzero((split.fold >= 0) & (split.fold != fold))
        )
        size = config.tree["sampling"]["eval_batch_size"] or 2 * config.tree["sampling"]["batch_size"]
        rows = rows[: len(rows) // size * size or len(rows)]
        images = torch.from_numpy(np.ascontiguousarray(pack.images[rows].transpose(0, 3, 1, 2)))
        update_bn(iter(images.split(size)), network)
        for name, value in network.state_dict().items():
            if "running" in name:
                np.testing.assert_allclose(mean[name], value.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


def test_it_is_an_ordinary_record(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["post", "task=digits", "mode.report=false", *places(folder)]) == 0
    several = ensembles.load_all(Project(folder / "results/default"), "digits")[-1]
    facts = averaged(folder, capsys)
    project, made = of_soup(folder)
    mixture = ensembles.load_all(project, "digits")[-1]
    assert mixture.way == "soup" and [one["records"] for one in mixture.members] == [[one.id for one in made]]
    # The rows that chose are said to have, and the one network is compared with the ensemble before.
    assert mixture.is_chosen and {facts["soup_compared"][key] for key in ("first", "second")} == {
        mixture.id,
        several.id,
    }
    assert [one["recipe"] for one in tables.leaderboard(project, "digits")].count(made[0].recipe) == 1
    assert all("members_of_the_soup" in one.val_used_for and one.scores["test"] for one in made)
    for words in (
        ["verify", "mode.run=latest"],
        ["predict", "task=digits"],
        ["info", "task=digits", f"mode.compare=[{made[0].recipe},{several.id}]", "mode.subroutines=[compare]"],
        [
            "export",
            "task=digits",
            f"mode.record={made[0].number}",
            "mode.format=bundle",
            f"mode.file={folder / 'a.zip'}",
        ],
    ):
        assert main([*words, *places(folder)]) == 0, words
    images = sources.reader(sources.digits(), 1)
    pixels = np.stack([images(row) for row in range(5)])
    of_project = load(f"default#{made[0].number}", out_dir=folder / "results", data_dir=folder / "data")
    values = load(folder / "a.zip").predict_values(pixels)
    np.testing.assert_allclose(values, of_project.predict_values(pixels), atol=1e-6)
    # What is not the mean any more is told.
    path = project.model_dir("digits", made[0].id) / "weights.safetensors"
    state = load_file(path)
    name = next(name for name in state if name.endswith("conv1.weight"))
    save_file({**state, name: state[name] + 1e-3}, path)
    capsys.readouterr()
    assert main(["verify", f"mode.run={mixture.run}", "--json", *places(folder)]) == 1
    found = {(one["of"], one["what"]): one["verdict"] for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found[made[0].id, "averaged weights"] == "differs" and found[made[1].id, "averaged weights"] == "ok"


def test_folds_that_share_a_start_are_chosen_by_test_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The heads go on from the record too, so that both folds begin with the same numbers.
    assert main(["train", *TRAIN, "reuse.parameters=default#1", "optimizer.lr=0.0001", *places(folder)]) == 0
    facts = averaged(folder, capsys, "mode.select_on=test", "mode.report=false")
    project, (made,) = of_soup(folder)
    mixture = ensembles.load_all(project, "digits")[-1]
    assert len(made.averaged) == 2 and made.fold == -1 and not made.scores.get("val")
    assert mixture.select_on == "test" and mixture.members[0]["records"] == [made.id] == facts["soup"]["records"]
    # The rows that chose the members are those that chose what follows; the others give the estimate.
    path = project.ensembles_dir("digits") / f"{mixture.id}.parquet"
    rows = predictions.load(project.predictions_file("digits", made.id), "digits", "test")
    known = f"{len(rows) // 2} test images chose them"
    chose = predictions.load(path, "digits", "chose").sample_ids
    assert any(known in note for note in made.notes) and len(chose) == len(rows) // 2
    assert main(["predict", "task=digits", *places(folder)]) == 0
