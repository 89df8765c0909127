"""Records: what loaders, transformers, augmentors and batches do, case by case as Barrage's documentation says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlpipe.data import imports, records
from mlpipe.data.records import (
    IdentityTransformer,
    KeySelector,
    RecordAugmentor,
    RecordLoader,
    RecordMode,
    RecordSet,
    RecordTransformer,
)
from mlpipe.errors import DataError

RECORD = {"a": 1, "b": 2.5, "y": 1, "w": 0.5}


def test_a_key_gives_its_value_and_a_list_of_keys_an_array() -> None:
    loader = KeySelector(RecordMode.TRAIN, {"x": ["a", "b"]}, {"y": "y", "z": ["y"]}, {"y": "w"})
    x, y, w = loader(RECORD)
    assert x["x"].tolist() == [1.0, 2.5]
    assert y["y"].shape == () and y["z"].shape == (1,)
    assert float(w["y"]) == 0.5


def test_score_mode_does_not_look_at_outputs() -> None:
    loader = KeySelector(RecordMode.SCORE, {"x": "a"}, {"y": "missing"}, {"y": "missing"})
    (x,) = loader(RECORD)
    assert x["x"] == 1
    with pytest.raises(KeyError):
        KeySelector(RecordMode.VALIDATION, {"x": "a"}, {"y": "missing"})(RECORD)


@pytest.mark.parametrize("wrong", ["inputs", "outputs", "sample_weights"])
def test_a_key_selector_wants_dictionaries(wrong: str) -> None:
    given: dict[str, Any] = {"inputs": {}, "outputs": {}, "sample_weights": {}} | {wrong: ["x"]}
    with pytest.raises(TypeError, match=f"{wrong} must be a dict"):
        KeySelector(RecordMode.TRAIN, **given)


def test_modes_are_record_modes() -> None:
    for made in (lambda: KeySelector(0, {}, {}), lambda: IdentityTransformer(0, None)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="mode must be type RecordMode"):
            made()
    assert [mode.value for mode in (RecordMode.TRAIN, RecordMode.VALIDATION, RecordMode.SCORE)] == [0, 1, 2]


def test_base_classes_are_abstract_and_network_params_a_dictionary() -> None:
    with pytest.raises(TypeError):
        RecordLoader(RecordMode.TRAIN)  # type: ignore[abstract]
    with pytest.raises(TypeError):
        RecordTransformer(RecordMode.TRAIN, None)  # type: ignore[abstract, arg-type]
    transformer = IdentityTransformer(RecordMode.TRAIN, KeySelector(RecordMode.TRAIN, {}, {}))
    assert transformer.network_params == {}
    transformer.network_params = {"units": 3}
    with pytest.raises(TypeError, match="network_params must be a dict"):
        transformer.network_params = 3  # type: ignore[assignment]


def test_augmentors_are_composed_in_their_order() -> None:
    def add(record: Any, by: int) -> Any:
        return ({"x": record[0]["x"] + by}, *record[1:])

    def times(record: Any, by: int) -> Any:
        return ({"x": record[0]["x"] * by}, *record[1:])

    assert RecordAugmentor([])(({"x": 3},)) == ({"x": 3},)
    assert RecordAugmentor([(add, {"by": 1}), (times, {"by": 10})])(({"x": 3},)) == ({"x": 40},)
    assert RecordAugmentor([(times, {"by": 10}), (add, {"by": 1})])(({"x": 3},)) == ({"x": 31},)


def test_only_training_records_are_augmented_and_records_stay_as_they_are() -> None:
    class Spoiling(KeySelector):
        def load(self, record: dict[str, Any]) -> Any:
            record["a"] += 1
            return super().load(record)

    def negative(record: Any) -> Any:
        return ({"x": -record[0]["x"]}, *record[1:])

    given = [{"a": 1, "y": 0}]
    for mode, expected in ((RecordMode.TRAIN, -2), (RecordMode.VALIDATION, 2), (RecordMode.SCORE, 2)):
        loader = Spoiling(mode, {"x": "a"}, {"y": "y"})
        found = RecordSet(given, mode, loader, IdentityTransformer(mode, loader), RecordAugmentor([(negative, {})]))
        assert int(found[0][0]["x"]) == expected
    assert given == [{"a": 1, "y": 0}]


@pytest.mark.parametrize(("count", "times"), [(1, 1), (4, 4), (0, 1), (-3, 1), (2.9, 2), (np.int64(3), 3)])
def test_sample_counts(count: Any, times: int) -> None:
    assert records.repeats({"n": count}, "n") == times
    assert records.repeats({"n": count}, None) == 1


def test_records_are_a_list_or_a_frame_that_stays_as_it_is() -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=[7, 8])
    assert [one["a"] for one in records.as_records(frame)] == [1, 2]
    assert frame.index.tolist() == [7, 8]
    given = [{"a": 1}]
    assert records.as_records(given) is given
    for wrong in ({"a": 1}, [1], "a", None):
        with pytest.raises(TypeError, match="record must be a list of dicts or pandas DataFrame"):
            records.as_records(wrong)


def test_batches_and_scores() -> None:
    x, y = records.batchify([({"x": np.ones(2)}, {"y": 1}), ({"x": np.zeros(2)}, {"y": 0})])
    assert x["x"].tolist() == [[1, 1], [0, 0]] and y["y"].tolist() == [1, 0]
    scores = records.batchify_network_output([np.arange(4).reshape(2, 2), np.arange(2)], ["a", "b"])
    assert [{name: value.tolist() for name, value in one.items()} for one in scores] == [
        {"a": [0, 1], "b": 0}, {"a": [2, 3], "b": 1},
    ]  # fmt: skip
    assert records.batchify_network_output(np.ones((3, 1)), ["a"])[2]["a"].tolist() == [1]


KNOWN = {"KeySelector": KeySelector, "IdentityTransformer": IdentityTransformer}


@pytest.mark.parametrize("path", ["KeySelector", "barrage.dataset.KeySelector", "mlpipe.api.barrage.KeySelector"])
def test_import_strings_that_are_ours(path: str) -> None:
    assert imports.resolve("dataset.loader", path, KNOWN) is KeySelector


def test_the_users_own_module_may_import_barrage(tmp_path: Path) -> None:
    (tmp_path / "mine_for_records.py").write_text(
        "from barrage.dataset import RecordLoader\nfrom barrage.api import RecordMode\n"
        "import barrage.dataset as d\nclass Mine(RecordLoader):\n    def load(self, record):\n        return (record,)\n"
    )
    mine = imports.resolve("dataset.loader", "mine_for_records.Mine", KNOWN)
    assert mine(RecordMode.SCORE)({"a": 1}) == ({"a": 1},)
    with pytest.raises(DataError, match=r"mine_for_records has no such name, got 'Mime'; did you mean 'Mine'"):
        imports.resolve("dataset.loader", "mine_for_records.Mime", KNOWN)


def test_a_short_name_where_there_are_none_is_told_what_to_write() -> None:
    with pytest.raises(DataError, match=r"got 'noise'; write MODULE\.NAME$"):
        imports.resolve("dataset.augmentor[0]", "noise", {})


def test_a_count_that_is_none_is_named() -> None:
    with pytest.raises(DataError, match=r"^task\.sample_count: must be the key of whole numbers, got 'many'"):
        records.repeats({"n": "many"}, "n")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("KeySelectr", r"nothing of this name .*got 'KeySelectr'; did you mean 'KeySelector'"),
        ("barrage.dataset.Nothing", r"there are KeySelector, IdentityTransformer"),
        ("os.system", r"code from outside the current folder, got 'os'.*trust=\[os\]"),
        ("sklearn.preprocessing.StandardScaler", r"code from outside the current folder"),
        ("subprocess.Popen", r"code from outside the current folder"),
        ("tensorflow.keras.layers.Dense", r"of TensorFlow that has no counterpart"),
        ("no-such.thing", r"is no name of a module"),
        ("no_such_module_here.Thing", r"code from outside the current folder"),
    ],
)
def test_import_strings_that_are_refused(path: str, sentence: str) -> None:
    with pytest.raises(DataError, match=rf"^dataset\.loader: .*{sentence}"):
        imports.resolve("dataset.loader", path, KNOWN)


def test_a_module_that_is_trusted_by_name_or_broken(tmp_path: Path) -> None:
    assert imports.resolve("k", "collections.Counter", KNOWN, trust=["collections"])([1, 1])[1] == 2
    imports._TRUSTED.clear()
    (tmp_path / "broken_for_records.py").write_text("1 / 0\n")
    with pytest.raises(DataError, match=r"broken_for_records: cannot be imported \(ZeroDivisionError"):
        imports.resolve("k", "broken_for_records.A", KNOWN)


def test_a_module_of_the_folder_one_works_in_now_goes_before_one_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same_name_of_records.py").write_text(f"where = {name!r}\n")
    for name in ("one", "other", "one"):
        monkeypatch.chdir(tmp_path / name)
        assert imports.resolve("k", "same_name_of_records.where", {}) == name


def test_random_numbers_go_on_as_if_nothing_had_been() -> None:
    np.random.seed(5)
    with records.drawing_from(1):
        first = np.random.rand()
    after = np.random.rand()
    with records.drawing_from(1):
        assert np.random.rand() == first
    np.random.seed(5)
    assert np.random.rand() == after
