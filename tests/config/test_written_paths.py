"""Paths that a file names and no word of the command line: where they may lead, and what is never replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpipe.config import written_paths
from mlpipe.errors import ConfigError


def tree(**sections: Any) -> dict[str, Any]:
    return {"out_dir": "results", "data_dir": "mlpipe_data", **sections}


def graph(file: str) -> dict[str, Any]:
    return tree(callbacks={"graph": {"file": file}})


def refused(made: dict[str, Any], words: list[str] | None = None, **more: Any) -> list[str]:
    try:
        written_paths.check(made, words or [], ours=("out_dir", "data_dir"), **more)
    except ConfigError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize("file", ["x.dot", "a/b/x.dot", "results/x.dot", "./a/../x.dot"])
def test_places_in_the_current_folder_and_in_results_are_allowed(file: str) -> None:
    assert refused(graph(file)) == []


@pytest.mark.parametrize("file", ["../x.dot", "/etc/x", "~/x", "a/../../x", ".bashrc", "a/.ssh/x", "a\0b"])
def test_places_elsewhere_and_hidden_ones_are_refused(file: str) -> None:
    (sentence,) = refused(graph(file))
    assert sentence.startswith("callbacks.graph.file: ") and "trust_paths" in sentence


def test_the_command_line_names_any_place() -> None:
    elsewhere = graph("../x.dot")
    for word in (
        "callbacks.graph.file=../x.dot",
        "cbs.graph.file=../x.dot",
        "callbacks.graph={}",
        "trust_paths=['..']",
    ):
        assert refused(elsewhere, [word]) == []
    assert refused(elsewhere, ["callbacks.graphs.file=../x.dot"]) != []


def test_a_file_may_name_places_beside_itself(tmp_path: Path) -> None:
    other = tmp_path.parent / f"{tmp_path.name}-other"
    assert refused(graph(f"{other}/x.dot")) != []
    assert refused(graph(f"{other}/x.dot"), beside=other) == []


@pytest.mark.parametrize(
    ("name", "content", "replaced"),
    [
        ("x.dot", b'digraph "n" {\n', True),
        ("x.dot", b"alias ls=rm\n", False),
        ("x.txt", b"1 2 0.5 nan\n", True),
        ("x.txt", b"my notes\n", False),
        ("x.h5", b"\x89HDF\r\n\x1a\n", True),
        ("x.h5", b"mine", False),
    ],
)
def test_a_file_of_another_kind_is_never_replaced(tmp_path: Path, name: str, content: bytes, replaced: bool) -> None:
    (tmp_path / name).write_bytes(content)
    assert (refused(graph(name)) == []) == replaced


def test_every_section_that_writes_is_looked_at() -> None:
    made = tree(
        callbacks={"a": {"folder": "../a"}},
        stages={"list": [{"callbacks": {"b": {"outfile": "../b"}}}]},
        logging={"log_dir": "../c"},
        sys={"outfile": "../d", "artifact_dir": "../e"},
        hpo={"storage": "sqlite:////etc/f.db"},
        mode={"file": "../g.onnx", "format": "onnx"},
        task={"data_dir": "../h"},
    )
    made["callbacks"] |= {"d": {"exclude_batches_path": "../x"}}
    keys = [sentence.partition(":")[0] for sentence in refused(made)]
    of_callbacks = ["callbacks.a.folder", "callbacks.d.exclude_batches_path"]
    of_lists = [*of_callbacks, "stages.list.callbacks.b.outfile", "logging.log_dir"]
    others = ["sys.outfile", "sys.artifact_dir", "task.data_dir", "hpo.storage"]
    assert sorted(keys) == sorted(["mode.file", *of_lists, *others])
    # The file of any other mode is read.
    assert refused(tree(mode={"file": "../g.csv"})) == []
    assert refused(tree(hpo={"storage": "postgresql://host/db"})) == []


def test_folders_of_results_that_a_file_names() -> None:
    with pytest.raises(ConfigError, match="out_dir: leads outside"):
        written_paths.check({"out_dir": "../elsewhere", "data_dir": "mlpipe_data"}, [])
    written_paths.check({"out_dir": "../elsewhere", "data_dir": "mlpipe_data"}, ["out_dir=../elsewhere"])


@pytest.mark.parametrize(
    "place", ["%2Fetc/x.db", "..%2Fx.db", "%2e%2e/x.db", "file:%2Fetc%2Fx.db?uri=true", "..%252Fx.db"]
)
def test_places_written_by_the_numbers_of_their_letters_are_the_same(place: str) -> None:
    for made in (tree(logging={"tracking_uri": f"sqlite:///{place}"}), tree(hpo={"storage": f"sqlite:///{place}"})):
        assert any("leads outside" in sentence for sentence in refused(made))


def test_a_place_that_the_command_line_names_is_named_for_keys_that_refer_to_it() -> None:
    made = tree(callbacks={"every_epoch": {"folder": "/elsewhere/out"}}, sys={"artifact_dir": "/elsewhere/out"})
    assert len(refused(made)) == 2
    assert refused(made, ["sys.artifact_dir=/elsewhere/out"]) == []
    made["callbacks"]["every_epoch"]["folder"] = "/elsewhere"
    assert len(refused(made, ["sys.artifact_dir=/elsewhere/out"])) == 1
