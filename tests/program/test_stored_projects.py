"""Projects stored by version 0.1.0 open, predict, ensemble and continue: one of each kind, a study, an unfinished run.

Each archive of `tests/frozen/projects` holds what the commands in its `commands.json` left, beside their inputs.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from mlpipe import kinds
from mlpipe.cli import main

pytestmark = pytest.mark.program
STORED = Path(__file__).parents[1] / "frozen" / "projects"


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stored project's only task, unpacked somewhere else than where it was made."""
    with zipfile.ZipFile(STORED / f"{request.param}.zip") as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MML_DATA_PATH", str(tmp_path / "mlpipe_data"))
    (folder,) = (tmp_path / "results/default/tasks").iterdir()
    return folder


# The kinds that version 0.1.0 had.
KINDS = tuple(name for name in kinds.names() if name not in ("detection", "generation"))


def commands(folder: Path) -> list[list[str]]:
    texts: list[str] = json.loads((folder.parents[3] / "commands.json").read_text("utf-8"))
    return [text.split() for text in texts]


def records(folder: Path) -> dict[str, dict[str, object]]:
    return {path.parent.name: json.loads(path.read_text("utf-8")) for path in folder.glob("models/*/record.json")}


def rows(path: Path) -> dict[tuple[str, str], list[float]]:
    """The numbers of each row of a file of predictions, without those that `mml post` adds."""
    table = pq.read_table(path).to_pylist()
    numbers = [name for name in table[0] if name not in ("task", "sample_id", "split", "fold", "calibrated")]
    return {
        (row["split"], row["sample_id"]): np.hstack([np.asarray(row[name], np.float64) for name in numbers]).tolist()
        for row in table
    }


def leaves(scores: object) -> Iterator[float]:
    """The numbers of nested mappings and lists, in their order."""
    for one in scores.values() if isinstance(scores, dict) else scores if isinstance(scores, list) else ():
        yield from [float(one)] if isinstance(one, int | float) else leaves(one)


def test_there_is_one_of_each_kind() -> None:
    assert {path.stem for path in STORED.glob("*.zip")} == {*KINDS, "study", "unfinished"}


@pytest.mark.parametrize("project", KINDS, indirect=True)
def test_the_same_command_trains_more_folds_of_the_same_recipe(project: Path) -> None:
    before = records(project)
    assert main(commands(project)[0]) == 0
    after = records(project)
    assert len(after) == 2 * len(before)
    assert {one["recipe"] for one in after.values()} == {one["recipe"] for one in before.values()}
    for name, record in after.items():
        if name not in before:
            (twin,) = (key for key, one in before.items() if one["fold"] == record["fold"])
            old, new = (load_file(project / "models" / one / "weights.safetensors") for one in (twin, name))
            for key, value in old.items():
                np.testing.assert_allclose(new[key], value, rtol=1e-3, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("project", KINDS, indirect=True)
def test_its_models_predict_as_they_did(project: Path) -> None:
    stored = {path.name: rows(path) for path in project.glob("predictions/*.parquet")}
    assert len(stored) == 2
    shutil.rmtree(project / "predictions")
    wanted = [word for word in commands(project)[1] if word.startswith("task")]
    assert main(["predict", *wanted]) == 0
    for name, old in stored.items():
        new = rows(project / "predictions" / name)
        assert new.keys() == old.keys()
        for key, numbers in old.items():
            np.testing.assert_allclose(new[key], numbers, rtol=1e-4, atol=1e-5, err_msg=str(key))


@pytest.mark.parametrize("project", KINDS, indirect=True)
def test_its_ensemble_is_made_again_with_the_same_scores(project: Path) -> None:
    old = {path.name: json.loads(path.read_text("utf-8")) for path in project.glob("ensembles/*.json")}
    assert main(commands(project)[1]) == 0
    new = {path.name: json.loads(path.read_text("utf-8")) for path in project.glob("ensembles/*.json")}
    assert len(new) == len(old) + bool(old)
    for name in new.keys() - old.keys():
        (before,) = old.values()
        assert list(leaves(new[name]["scores"])) == pytest.approx(list(leaves(before["scores"])), abs=1e-6, nan_ok=True)
    assert main(["info", "--json"]) == 0


@pytest.mark.parametrize("project", ["unfinished"], indirect=True)
def test_an_unfinished_run_goes_on(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert len(records(project)) == 1
    # A run knows the folder of its data.
    (config,) = project.parents[1].glob("runs/*/*/config.yaml")
    config.write_text(config.read_text("utf-8").replace("/tmp/project/unfinished", str(Path.cwd())), "utf-8")
    assert main(["train", "continue=latest"]) == 0
    found = records(project)
    assert {one["fold"] for one in found.values()} == {0, 1}
    assert len({one["recipe"] for one in found.values()}) == 1
    assert main(commands(project)[0]) == 0
    # Interrupted in its second fold and continued, it is what the same command gives at once.
    weights = {}
    for name, one in sorted(records(project).items()):
        weights.setdefault(one["fold"], []).append(load_file(project / "models" / name / "weights.safetensors"))
    for first, second in weights.values():
        for key, value in first.items():
            np.testing.assert_allclose(second[key], value, rtol=1e-3, atol=1e-5, err_msg=key)
    capfd.readouterr()


@pytest.mark.parametrize("project", ["study"], indirect=True)
def test_a_study_goes_on_with_more_trials(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (command,) = commands(project)
    # A study knows the folder of its data.
    log = project.parents[1] / "studies/s.log"
    log.write_text(log.read_text("utf-8").replace("/tmp/project/study", str(Path.cwd())), "utf-8")
    before = len(records(project))
    assert main([word.replace("hpo.trials=2", "hpo.trials=3") for word in command]) == 0
    assert len(records(project)) == before + 1
    assert "3" in capfd.readouterr().out
