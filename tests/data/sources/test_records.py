"""A task of records: vectors and targets, counts, weights, transformers, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlpipe.data import sources
from mlpipe.data.records import layout as record_layout
from mlpipe.data.records import outputs as record_heads
from mlpipe.data.records.layout import Layout, Output
from mlpipe.data.sources.listings import record_files
from mlpipe.errors import DataError

ROWS = [{"a": i, "b": -i / 2, "y": i % 3, "z": float(i), "n": i % 3, "w": 0.5 + i} for i in range(9)]
VALIDATION = [{**row, "a": row["a"] + 100} for row in ROWS[:4]]


def selector(y: Any = "y", **more: Any) -> dict[str, Any]:
    return {"import": "KeySelector", "params": {"inputs": {"x": ["a", "b"]}, "outputs": {"out": y}, **more}}


def made(**given: Any) -> Any:
    names = {"train": ROWS, "validation": VALIDATION} | {
        key: given.pop(key) for key in ("train", "validation") if key in given
    }
    held = {key: record_files.hold(value) for key, value in names.items()}
    keys = {"kind": "classification", "loader": selector(), "output": "out"} | given
    return sources.records(**held, **keys)


def test_vectors_and_class_numbers() -> None:
    task = made()
    assert task.kind == "classification" and task.classes == ("0", "1", "2")
    assert task.part_sizes() == {"train": 9, "val": 4}
    assert task.samples.targets.tolist() == [i % 3 for i in range(9)] + [0, 1, 2, 0]
    read = sources.reader(task, 1)
    pixels = read(2)
    assert pixels.shape == (2, 1, 1) and pixels.dtype == np.float32 and pixels.ravel().tolist() == [2, -1]
    assert read(9).ravel()[0] == 100


def test_tables_and_json_files_are_records(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "v.json").write_text(json.dumps(VALIDATION))
    task = sources.records(train="t.csv", validation="v.json", kind="classification", loader=selector(), output="out")
    assert len(task.samples) == 13 and task.name.startswith("t-")
    assert task.source["parts"]["train"] == str(tmp_path / "t.csv")


def test_counts_repeat_training_records_only() -> None:
    task = made(sample_count="n")
    assert task.part_sizes() == {"train": sum(max(1, i % 3) for i in range(9)), "val": 4}
    assert [name for name in task.samples.ids if name.startswith("train:0000002")] == [
        "train:0000002",
        "train:0000002#1",
    ]


@pytest.mark.parametrize(
    ("kind", "y", "classes", "first"),
    [("regression", ["z", "a"], 2, [0, 0]), ("multilabel", ["y"], 1, [0]), ("regression", "z", 1, [0])],
)
def test_kinds(kind: str, y: Any, classes: int, first: list[float]) -> None:
    rows = [{**row, "y": row["y"] % 2} for row in ROWS]
    task = made(kind=kind, loader=selector(y), train=rows, validation=rows[:2], allow_overlap=True)
    assert len(task.classes) == classes and task.samples.targets[0].tolist() == first


@pytest.mark.parametrize("several", [False, True])
def test_targets_and_weights_come_back_as_they_were(several: bool) -> None:
    outputs = (Output("out", (3,), "one_hot", "classification"), Output("size", (2, 1), "values", "regression"))
    layout = Layout((("x", (2,)), ("image", (2, 2, 1))), outputs[: 1 + several], True)
    x = {"x": np.array([1.0, 2.0]), "image": np.arange(4.0).reshape(2, 2, 1)}
    y = {"out": np.array([0, 1, 0])} | ({"size": np.array([[4.5], [-2.0]])} if several else {})
    given = (x, y, {name: np.array(2.0 + number) for number, name in enumerate(y)})
    assert record_layout.of(given, [(one.name, one.kind) for one in layout.outputs], "r") == layout
    assert Layout.from_plain(json.loads(json.dumps(layout.as_plain()))) == layout
    vector = layout.vector(given, "r")
    assert len(vector) == 6 + 2 * several and layout.tail == 2 * several
    back = layout.data_record(vector, layout.target(given, "r"), layout.weight(given, "r"))
    for part, other in zip(given, back, strict=True):
        assert {name: np.asarray(value).tolist() for name, value in part.items()} == {
            name: np.asarray(value).tolist() for name, value in other.items()
        }


def test_outputs_tell_class_numbers_with_gaps_from_those_that_lack_some() -> None:
    from_1 = [{**row, "y": row["y"] + 1} for row in ROWS]
    given = {"train": from_1, "validation": from_1[:2], "allow_overlap": True}
    # As many outputs as classes occur: these are the classes. More: the numbers are places, some of which lack rows.
    assert made(**given, outputs=3).samples.targets.max() == 2
    wider = made(**given, outputs=4)
    assert wider.classes == ("0", "1", "2", "3") and wider.samples.targets.max() == 3


def test_several_outputs_are_a_task_of_numbers() -> None:
    loader = selector()
    loader["params"]["outputs"] = {"size": ["a", "z"], "bit": "bit"}
    rows = [{**row, "bit": row["y"] % 2} for row in ROWS]
    given: dict[str, Any] = {"train": rows, "validation": rows[:1], "allow_overlap": True, "loader": loader}
    task = made(kind="regression", output=["bit", "size"], kinds=["multilabel", "regression"], **given)
    assert task.classes == ("bit", "size[0]", "size[1]") and task.samples.targets[2].tolist() == [0, 2, 2]
    with pytest.raises(DataError, match=r"task\.kinds: do not fit the outputs"):
        made(kind="regression", output=["bit", "size"], **given)


def test_class_numbers_of_one_of_several_outputs_become_one_hot() -> None:
    loader = selector()
    loader["params"]["outputs"] = {"size": ["a", "z"], "level": "y"}
    given: dict[str, Any] = {"train": ROWS, "validation": ROWS[:1], "allow_overlap": True, "loader": loader}
    given |= {"kind": "regression", "output": ["level", "size"], "kinds": ["classification", "regression"]}
    task = made(**given)
    highest = max(row["y"] for row in ROWS)
    assert task.classes == (*(f"level[{number}]" for number in range(highest + 1)), "size[0]", "size[1]")
    assert task.samples.targets[:, : highest + 1].argmax(1)[: len(ROWS)].tolist() == [row["y"] for row in ROWS]
    assert task.samples.targets[:, : highest + 1].sum(1).tolist() == [1.0] * len(task.samples.targets)
    assert made(**given, outputs=highest + 5).classes[highest + 2] == f"level[{highest + 2}]"
    head = record_heads.of(task, "level")
    assert head.classes == tuple(map(str, range(highest + 1)))
    assert head.samples.targets[: len(ROWS)].tolist() == [row["y"] for row in ROWS]
    layout = Layout.from_plain(task.source["layout"])
    record = ({"x": np.zeros(3)}, {"level": np.array(1), "size": np.array([2.0, 3.0])})
    _, y, *_ = layout.data_record(np.zeros(3, np.float32), layout.target(record, "r"), 1.0)
    assert y["level"].tolist() == 1 and y["size"].tolist() == [2.0, 3.0]
    with pytest.raises(DataError, match=r"a class number beyond the \d classes, got 9"):
        layout.target(({"x": np.zeros(3)}, {"level": np.array(9), "size": np.array([2.0, 3.0])}), "r")


def test_a_record_without_one_of_several_outputs_is_named(tmp_path: Path) -> None:
    (tmp_path / "uneven.py").write_text(
        "from barrage.dataset import RecordLoader\n"
        "class Uneven(RecordLoader):\n"
        "    def load(self, record):\n"
        "        y = {'level': 1, 'size': 2.0}\n"
        "        return ({'x': [record['a']]}, y if record['y'] else {'size': 2.0})\n"
    )
    given: dict[str, Any] = {
        "kind": "regression",
        "output": ["level", "size"],
        "kinds": ["classification", "regression"],
    }
    rows = sorted(ROWS, key=lambda row: -row["y"])
    with pytest.raises(DataError, match=r"record \d+ of task\.train: its y has the outputs size, others level, size"):
        made(train=rows, loader={"import": "uneven.Uneven"}, **given)


def test_an_output_of_several_is_a_task_of_its_own() -> None:
    loader = selector()
    loader["params"]["outputs"] = {"size": ["a", "z"], "kind": ["y0", "y1", "y2"], "bit": "bit"}
    rows = [{**row, "bit": row["y"] % 2} | {f"y{n}": int(n == row["y"]) for n in range(3)} for row in ROWS]
    given: dict[str, Any] = {"train": rows, "validation": rows[:1], "allow_overlap": True, "loader": loader}
    kinds = ["regression", "classification", "multilabel"]
    task = made(kind="regression", output=["size", "kind", "bit"], kinds=kinds, **given)
    assert record_heads.names(task.source) == ("size", "kind", "bit")
    kind, bit, size = (record_heads.of(task, name) for name in ("kind", "bit", "size"))
    assert (kind.kind, kind.classes) == ("classification", ("0", "1", "2"))
    assert kind.samples.targets.tolist()[:9] == [row["y"] for row in ROWS] and kind.samples.targets.dtype == np.int64
    assert (bit.kind, bit.classes, bit.samples.targets[:3].tolist()) == ("multilabel", ("bit",), [[0], [1], [0]])
    assert (size.kind, size.classes, size.samples.targets[2].tolist()) == ("regression", ("size[0]", "size[1]"), [2, 2])
    assert record_heads.name_of(kind.source) == "kind" and record_heads.names(kind.source) == ()
    assert record_heads.name_of(task.source) is None
    with pytest.raises(DataError, match=r"has no such output, got '\+head\?king'; did you mean 'kind'"):
        record_heads.of(task, "king")
    with pytest.raises(DataError, match=r"is no task of records with several outputs"):
        record_heads.of(made(), "out")


TRANSFORMER = """
import json, os
import numpy as np
from barrage.dataset import RecordTransformer
class Scaler(RecordTransformer):
    def fit(self, records):
        x = np.stack([self.loader(r)[0]["x"] for r in records])
        self.mean = x.mean(0) + self.params.get("by", 0)
        self.count = len(records)
        self.network_params = {"count": np.int64(self.count)}
        for record in records:
            record.clear()
    def transform(self, data_record):
        return ({"x": data_record[0]["x"] - self.mean}, *data_record[1:])
    def postprocess(self, score):
        return {"sum": score["out"].sum()}
    def save(self, path):
        json.dump(self.mean.tolist(), open(os.path.join(path, "mean.json"), "w"))
    def load(self, path):
        self.mean = np.array(json.load(open(os.path.join(path, "mean.json"))))
class Asking(Scaler):
    def __init__(self, mode, loader, params):
        super().__init__(mode, loader, **params)
class Heir(Asking):
    pass
class NotOne:
    def __init__(self, mode, loader): pass
def double(data_record, by):
    return ({"x": data_record[0]["x"] * by + np.random.rand()}, *data_record[1:])
"""


NAMED = """
import numpy as np
from barrage.dataset import IdentityTransformer, RecordLoader
class Loader(RecordLoader):
    def __init__(self, mode, inputs, name, key, function, where, kind, given, base):
        super().__init__(mode)
        self.inputs = inputs[key]
    def load(self, record):
        return {"x": np.array([record[one] for one in self.inputs])}, {"out": np.array(record["y"])}
class Same(IdentityTransformer):
    def __init__(self, mode, loader, name, key, function, where, kind, given, base):
        super().__init__(mode, loader)
def vary(data_record, name, key, function, where, kind, given, base):
    return ({key: data_record[0][key] + name}, *data_record[1:])
"""


# `Asking` is made with one mapping of its parameters, as is what derives from it.
@pytest.mark.parametrize("name", ["Scaler", "Asking", "Heir"])
def test_a_transformer_learns_once_from_unrepeated_training_records(tmp_path: Path, name: str) -> None:
    (tmp_path / "scaling_of_records.py").write_text(TRANSFORMER)
    task = made(transformer={"import": f"scaling_of_records.{name}", "params": {"by": 1}}, sample_count="n")
    read = sources.reader(task, 1)
    assert read(0).ravel().tolist() == [-5.0, 1.0]
    assert read(len(task.samples) - 4).ravel().tolist() == [95.0, 1.0]
    assert task.source["network_params"] == {"count": 9}
    assert ROWS[0]["a"] == 0
    (tmp_path / "saved").mkdir()
    record_files.save_transformer(task.source, tmp_path / "saved")
    found = record_files.record_set_to_score(task.source, [{"a": 7, "b": 7}], tmp_path / "saved", [])
    assert found.plain(0)[0]["x"].tolist() == [2.0, 8.0]
    with pytest.raises(DataError, match=r"dataset\.transformer: load: cannot be read \(FileNotFoundError"):
        record_files.record_set_to_score(task.source, [], tmp_path / "nothing", [])


def test_loaders_transformers_and_augmentors_may_call_their_parameters_what_they_like(tmp_path: Path) -> None:
    (tmp_path / "names_of_records.py").write_text(NAMED)
    names = {"name": 1, "key": "x", "function": 2, "where": 3, "kind": 4, "given": 5, "base": 6}
    params = {"import": "names_of_records.Loader", "params": {"inputs": {"x": ["a", "b"]}, **names}}
    same = {"import": "names_of_records.Same", "params": names}
    task = made(loader=params, transformer=same, augmentor=[{"import": "names_of_records.vary", "params": names}])
    assert sources.reader(task, 1)(2).ravel().tolist() == [2, -1]
    varied = record_files.augmentor_of(task.source)(({"x": np.array([2.0, -1.0])},))
    assert varied[0]["x"].tolist() == [3.0, 0.0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"loader": selector("missing")}, r"record 0 of task\.train: cannot be read \(KeyError: 'missing'\)"),
        ({"loader": {"import": "KeySelectors"}}, r"task\.loader: there is nothing of this name.*did you mean"),
        ({"loader": {"params": {}}}, r"task\.loader\.import: is needed"),
        ({"loader": {"import": "os.system"}, "transformer": {"import": "shutil.rmtree"}}, r"task\.transformer: names code"),
        ({"augmentor": [{"import": "os.remove"}]}, r"task\.augmentor\[0\]: names code from outside"),
        ({"loader": {"import": "IdentityTransformer", "params": {"loader": 1}}}, r"is no RecordLoader"),
        ({"output": "other"}, r"its y has the outputs out, the network other"),
        ({"loader": selector("z"), "train": [{**ROWS[0], "z": 0.5}]}, r"its y is no class number"),
        ({"loader": selector(["a", "b"])}, r"its y is not one-hot"),
        *(({"loader": selector(keys), "train": [{**ROWS[0], "q": value}], **kind}, r"its y is no finite number")
          for value in (float("nan"), float("inf"))
          for keys, kind in (("q", {}), (["y", "q"], {}), (["q"], {"kind": "multilabel"}), (["q"], {"kind": "regression"}))),
        ({"kind": "multilabel"}, r"its y is not 0 and 1"),
        ({"train": [{**ROWS[0], "a": float("nan")}]}, r"inputs that are no finite numbers"),
        ({"train": [{**ROWS[0], "a": "text"}]}, r"is no array of numbers"),
        ({"loader": selector(sample_weights={"out": "b"})}, r"its w is no number >= 0, got -0\.5"),
        ({"train": [], "validation": []}, r"task\.train: has no records"),
        ({"outputs": 2}, r"task\.outputs: the targets need 3, got 2"),
        ({"sample_count": "n", "train": [{**ROWS[0], "n": 1e12}]}, r"sample_count: a record comes more than 100,000 times"),
        ({"sample_count": "n", "train": [{**ROWS[0], "n": float("inf")}]}, r"sample_count: must be the key of whole numbers"),
        ({"augmentor": [{"import": "held.NUMBER"}]}, r"task\.augmentor\[0\]\.import: held\.NUMBER cannot be called, got 'int'"),
        ({"transformer": {"import": "held.NUMBER"}}, r"task\.transformer\.import: held\.NUMBER cannot be called"),
        ({"sample_count": "none"}, r"task\.sample_count: records have no such key, got 'none'; records have"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_sentence(tmp_path: Path, given: dict[str, Any], sentence: str) -> None:
    (tmp_path / "held.py").write_text("NUMBER = 3\n")
    with pytest.raises(DataError, match=sentence):
        made(**given)


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ("None", r"augmentor: train:\d+: is no data record, got 'NoneType'; .*to score \(X,\)"),
        ("(record[0],)", r"is no data record to learn from, got 'tuple'"),
        ("(record[0], {})", r"its y has the outputs , others out"),
        ("({'x': [1, 2]}, {'out': float('nan')})", r"its y is no finite number"),
    ],
)
def test_what_an_augmentor_returns_is_looked_at(tmp_path: Path, returned: str, sentence: str) -> None:
    from mlpipe.data.cache import packs
    from mlpipe.data.loading.loaders import Draw, PackDataset
    from mlpipe.data.preprocessing import standard

    (tmp_path / "varied.py").write_text(f"def change(record):\n    return {returned}\n")
    task = made(augmentor=[{"import": "varied.change"}])
    pack = packs.build(task, standard(1, id="none", size=None), tmp_path / "pack", workers=1)
    with pytest.raises(DataError, match=sentence):
        PackDataset(pack, task, [], Draw(0, 0), is_training=True)[0, np.arange(2)]


def test_arrays_of_several_shapes_and_files_that_are_none(tmp_path: Path) -> None:
    rows = [{"x": np.zeros(2 + i), "y": i} for i in range(2)]
    loader = {"import": "KeySelector", "params": {"inputs": {"x": "x"}, "outputs": {"out": "y"}}}
    with pytest.raises(DataError, match=r"its input x has the shape \[3\], others \[2\]"):
        made(train=rows, validation=[], loader=loader)
    with pytest.raises(DataError, match=r"task\.train: there is no such file"):
        record_files.read_records("task.train", str(tmp_path / "a.csv"))
    with pytest.raises(DataError, match=r"must be a \.csv or \.json file"):
        record_files.read_records("task.train", str(tmp_path / "a.txt"))
    (tmp_path / "a.json").write_text('[{"x": 1, "x": 2}]')
    with pytest.raises(DataError, match="cannot be read as records \\(it has 'x' twice"):
        record_files.read_records("task.train", str(tmp_path / "a.json"))
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as records"):
        record_files.read_records("task.train", str(tmp_path / "a.json"))


def test_records_that_are_in_both_parts_are_an_error_unless_allowed() -> None:
    with pytest.raises(DataError, match="in the training part too"):
        made(validation=ROWS[:2])
    assert made(validation=ROWS[:2], allow_overlap=True).part_sizes() == {"train": 9, "val": 2}


def test_augmentors_vary_training_batches_the_same_way_every_time(tmp_path: Path) -> None:
    from mlpipe.data.cache import packs
    from mlpipe.data.loading.loaders import Draw, PackDataset
    from mlpipe.data.preprocessing import standard

    (tmp_path / "varying_of_records.py").write_text(TRANSFORMER)
    weights = selector(sample_weights={"out": "w"})
    task = made(augmentor=[{"import": "varying_of_records.double", "params": {"by": 10}}], loader=weights)
    pack = packs.build(task, standard(1, id="none", size=None), tmp_path / "pack", workers=1)
    found = PackDataset(pack, task, [], Draw(0, 0), is_training=True)
    rows = np.array([4, 1])
    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    batch = found[0, rows]
    assert np.random.get_state()[1].tolist() == before
    values = batch["images"].reshape(2, 2).numpy()
    drawn = values[:, 0] - np.array([40, 10])
    assert ((drawn > 0) & (drawn < 1)).all() and drawn[0] != drawn[1]
    assert batch["images"].shape == (2, 1, 2, 1)
    assert batch["target"].tolist() == [1, 1] and batch["weight"].tolist() == [4.5, 1.5]
    assert found[0, rows[::-1].copy()]["images"].flip(0).equal(batch["images"])
    assert not found[1, rows]["images"].equal(batch["images"])
