"""What is no bundle, was changed or leads elsewhere is refused with one sentence, before anything of it is used."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpipe import files
from mlpipe.data import task
from mlpipe.data.task import Row
from mlpipe.errors import DataError, ProjectError
from mlpipe.post.ensembling import members
from mlpipe.running import bundles
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project
from tests.build import make_record

CARD: dict[str, Any] = {
    "task": "digits",
    "kind": "classification",
    "classes": ["a", "b"],
    "images": {"channels": 1, "type": "uint8"},
    "trained_on": {"train": 1},
    "models": [
        {
            "id": "net-f0",
            "fold": 0,
            "is_refit": False,
            "weight": 1.0,
            "arch": "net",
            "parameters": 1,
            "images": {"val": 1},
            "scores": {"val": {"accuracy": 0.5}},
            "preprocessing": {},
            "environment": {},
        }
    ],
}


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for one in sorted(folder.rglob("*")):
            if one.is_file():
                archive.write(one, one.relative_to(folder).as_posix())
    return path


def bundle(folder: Path, card: Any = None, **facts: Any) -> Path:
    """A bundle's folder of one record, with what its manifest says otherwise."""
    record = make_record(Project(folder / "project"), "net-f0", config="")
    source = {"type": "folder", "root": ""}
    task.save(
        task.make("digits", record.classes, [Row("a", "unlabelled", -1, "")], channels=1, source=source),
        folder / "task.json",
    )
    files.write_json(folder / "card.json", card or CARD)
    (folder / "project/.lock").unlink(missing_ok=True)
    there = {one.relative_to(folder).as_posix(): files.digest_file(one) for one in folder.rglob("*") if one.is_file()}
    members = [{"name": "a", "weight": 1.0, "records": ["net-f0"]}]
    plain = {"format": 1, "version": "9.9", "task": "digits", "ensemble": None, "members": members, "files": there}
    files.write_sealed(folder / "manifest.json", {**plain, **facts})
    return folder


def test_a_bundle_is_unpacked_and_goes_with_its_models(tmp_path: Path) -> None:
    stored = bundles.opened(zipped(bundle(tmp_path / "b"), tmp_path / "b.zip"))
    assert [one.id for one in stored.records] == ["net-f0"] and stored.card == CARD
    assert stored.pivot is not None and stored.pivot.classes[9] == "9"
    root = stored.project.root
    assert (root / "tasks/digits/models/net-f0" / records.WEIGHTS_FILE).read_bytes() == b"weights"
    del stored
    assert not root.exists()


@pytest.mark.parametrize("nested", [False, True])
def test_held_out_rows_of_a_refit_are_those_of_its_project(tmp_path: Path, nested: bool) -> None:
    project, home = Project(tmp_path / "p"), Project(tmp_path / "b")
    rng, names = np.random.default_rng(0), [f"image {number:02}" for number in range(6)]
    folds = []
    for fold, own in enumerate((names[::2], names[1::2])):
        record = make_record(project, f"net-f{fold}", config="", fold=fold, nested=nested)
        with predictions.writer(project.predictions_file("digits", record.id), [], record.kind) as sink:
            targets, logits = np.arange(3) + 3 * fold, rng.normal(size=(3, len(record.classes)))
            sink.add(record.task, record.held_out, fold, own, targets, logits)
            sink.add(record.task, "val" if nested else "test", fold, ["other"], targets[:1], logits[:1])
        folds.append(record.id)
    refit = make_record(project, "net-refit", config="", fold=-1, refit=folds)
    stored = SimpleNamespace(project=project, task="digits", records=[refit], ensemble=None)
    samples = SimpleNamespace(samples=SimpleNamespace(ids=[*names, "other"]))
    models: Any = SimpleNamespace(stored=stored, kind=refit.kind, pivot=samples)
    bundles._copy_record(project, home, refit, predicts=True)
    bundles._copy_rows(models, home)
    wanted, rows = (members.validated(place, refit) for place in (project, home))
    assert wanted is not None and rows is not None and wanted.ids == names and rows.ids[5] == "000000005"
    np.testing.assert_array_equal(rows.raw, wanted.raw)
    assert rows.targets.tolist() == wanted.targets.tolist() == [0, 3, 1, 4, 2, 5]


def test_damaged_bytes_are_told_in_words(tmp_path: Path) -> None:
    path = zipped(bundle(tmp_path / "b"), tmp_path / "b.zip")
    # The weights, as they lie in the file behind their name.
    with zipfile.ZipFile(path) as archive:
        (info,) = (one for one in archive.infolist() if one.filename.endswith(records.WEIGHTS_FILE))
    whole = path.read_bytes()
    at = whole.index(b"weights", info.header_offset + 30 + len(info.filename))
    (tmp_path / "bytes.zip").write_bytes(whole[:at] + b"heights" + whole[at + 7 :])
    with pytest.raises(DataError) as error:
        bundles.opened(tmp_path / "bytes.zip")
    said = str(error.value)
    assert "weights.safetensors was changed since it was packed: its checksum does not fit" in said
    assert said.endswith("; export it again") and "CRC" not in said


def test_a_changed_missing_or_further_file_is_named(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    weights = folder / "project/tasks/digits/models/net-f0" / records.WEIGHTS_FILE
    weights.write_bytes(b"heights")
    with pytest.raises(
        ProjectError, match="was changed since it was written: project/tasks/digits/models/net-f0/weights"
    ):
        bundles.opened(zipped(folder, tmp_path / "b.zip"))
    weights.unlink()
    with pytest.raises(ProjectError, match="was changed since it was written: .*weights"):
        bundles.opened(zipped(folder, tmp_path / "b.zip"))
    weights.write_bytes(b"weights")
    (folder / "more.py").write_text("")
    with pytest.raises(ProjectError, match="was changed since it was written: more.py"):
        bundles.opened(zipped(folder, tmp_path / "b.zip"))
    (folder / "more.py").unlink()
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**manifest, "task": "letters"}), "utf-8")
    with pytest.raises(ProjectError, match="was changed since it was written: manifest.json"):
        bundles.opened(zipped(folder, tmp_path / "b.zip"))


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        ({**CARD, "models": []}, r"b\.zip: card\.json: is damaged \(its card has no model\); export it again"),
        ({**CARD, "task": 3}, r"b\.zip: card\.json: is damaged \(task is of another type\)"),
    ],
)
def test_a_card_that_is_none(tmp_path: Path, card: Any, sentence: str) -> None:
    with pytest.raises(ProjectError, match=sentence):
        bundles.opened(zipped(bundle(tmp_path / "b", card), tmp_path / "b.zip"))


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"format": 2}, r"is of a newer version \(9.9, format 2\), this one reads format 1; update"),
        ({"task": 3}, "is no bundle .task is of another type"),
        ({"ensemble": "../../x"}, "does not hold project/tasks/digits/ensembles/"),
        ({"members": [{"name": "a", "weight": 1.0, "records": ["../../../x"]}]}, "does not hold project/"),
        ({"task": "../../.."}, "does not hold "),
    ],
)
def test_a_manifest_that_means_something_else(tmp_path: Path, facts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ProjectError, match=sentence):
        bundles.opened(zipped(bundle(tmp_path / "b", **facts), tmp_path / "b.zip"))


def test_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="cannot be unpacked"):
        bundles.opened(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("x/y.txt", "")
    with pytest.raises(ProjectError, match="is no bundle"):
        bundles.opened(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("../manifest.json", "{}")
    with pytest.raises(DataError, match="has a path out of the folder"):
        bundles.opened(tmp_path / "c.zip")
