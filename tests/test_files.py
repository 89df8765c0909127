"""What every file of a project goes through: durable, sealed, and told when there is no room."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from safetensors import SafetensorError

from mlpipe import files, limits
from mlpipe.errors import TOO_LARGE, DiskFull, ProjectError
from mlpipe.runs import stale_files

FULL = Path("/dev/full")
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@pytest.mark.skipif(not FULL.is_char_device(), reason="this system has no /dev/full")
def test_a_full_disk_is_known() -> None:
    with pytest.raises(OSError) as caught, FULL.open("ab", buffering=0) as handle:
        handle.write(b"x")
    assert files.disk_is_full(caught.value)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EFBIG, "File too large"), True),
        # What NumPy's save, torch's save and SQLite said on a tmpfs that was full.
        (OSError("200000 requested and 76768 written"), True),
        (RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 640 vs 534"), True),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), True),
        (DiskFull("2 folds need 3.0 MB"), True),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (RuntimeError("shapes do not fit"), False),
    ],
)
def test_libraries_that_write_by_themselves_say_it_in_words(error: Exception, full: bool) -> None:
    assert files.disk_is_full(error) is full


def test_what_came_from_a_full_disk_is_one() -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("own code fails") from error
    assert files.disk_is_full(caught.value)
    with pytest.raises(RuntimeError) as caught:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("another thing") from None
    assert not files.disk_is_full(caught.value)


@pytest.mark.skipif(not FULL.is_char_device(), reason="this system has no /dev/full")
def test_what_numpy_says_of_a_full_disk_is_known() -> None:
    with pytest.raises(OSError) as caught, FULL.open("wb", buffering=0) as handle:
        np.save(handle, np.zeros(100_000))
    assert files.disk_is_full(caught.value)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")).filter(lambda key: key != "checksum"), PLAIN))
def test_what_is_sealed_reads_whole_and_a_change_breaks_it(content: dict[str, Any]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, mock.patch("os.fsync"):
        path = Path(folder) / "x.json"
        files.write_sealed(path, content)
        stored = files.read_json(path)
    assert files.seal_is_broken(stored) is False
    assert files.seal_is_broken({**stored, "another": 1}) is True
    assert files.seal_is_broken({key: value for key, value in stored.items() if key != "checksum"}) is None


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    files.write_text(path, "old")
    with pytest.raises(OSError), files.durable(path) as temporary:
        temporary.write_text("half")
        raise OSError("broken")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_unfinished_name_tells_process_and_machine() -> None:
    name = files.temporary_name(Path("a.json"))
    assert name.startswith(f".a.json.tmp-{os.getpid()}-{files.machine()}") and len(files.machine()) == 8
    assert files.temporary_name(Path("a.json")) != name
    # Names of this form are found when what a killed process left is swept away.
    assert stale_files.is_temporary(name) and stale_files.process_of(name) == os.getpid()


def test_a_durable_write_syncs_the_file_then_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, order = tmp_path / "a" / "b" / "x.bin", list[str]()
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        order.append(f"sync {Path(os.readlink(f'/proc/self/fd/{handle}')).name.partition('.tmp')[0]}")  # noqa: PTH115
        sync(handle)

    def renamed(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for content in (b"first", b"second"):
        order.clear()
        files.write_bytes(path, content)
        assert order == ["sync .x.bin", "rename", "sync b"]
        assert path.read_bytes() == content and list(path.parent.iterdir()) == [path]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_text_and_lines_are_utf8_whatever_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "x.txt", list[int]()
    files.write_text(path, "é\n")
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), sync(handle)))
    files.append_line(path, "日本\n\n")
    files.append_line(path, "x")
    assert path.read_bytes() == "é\n日本\nx\n".encode()
    # Every line is written when it is synced.
    assert synced == [10, 12]


def test_json_as_it_is_written(tmp_path: Path) -> None:
    import numpy as np

    content = {"é": [1.5, float("nan"), float("-inf")], "b": (np.float32(0.5), np.int64(3)), "a": None, "t": True}
    text = files.json_text(content)
    assert text == ('{\n "é": [\n  1.5,\n  null,\n  null\n ],\n "b": [\n  0.5,\n  3\n ],\n "a": null,\n "t": true\n}\n')
    files.write_json(tmp_path / "x.json", content)
    assert (tmp_path / "x.json").read_text("utf-8") == text
    assert files.read_json(tmp_path / "x.json")["é"] == [1.5, None, None]


def test_json_is_that_of_the_library_with_an_indent() -> None:
    rows = [
        {"a": [], "b": {}, "c": [[1.0, None], [], ["é, \n", "\t", True]], 3: (1, (2, {"x": [{}]}))},
        [[[]]],
        "",
        -0.0,
    ]
    for content in (*rows, rows, {"": rows}, 1e300, [{}], [[], []], {None: 1, True: 2, 1.5: [3]}):
        assert files.json_text(content) == json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    with pytest.raises(TypeError, match="not JSON serializable"):
        files.json_text([1, {2}])


def test_json_and_yaml_that_are_nested_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("[" * 1_500 + "]" * 1_500)
    for read in (files.read_json, files.read_yaml):
        with pytest.raises(ValueError, match="^it is nested too deeply$"):
            read(tmp_path / "x")
    for depth in (600, 1_500, 8_000, 100_000):
        with pytest.raises(ValueError, match="^it is nested too deeply$"):
            files.plain_json("[" * depth + "]" * depth)
    assert files.plain_json("[" * 400 + "]" * 400) and files.plain_json("3") == 3
    with pytest.raises(ValueError, match="^Expecting property name"):
        files.plain_json("{]")


def test_yaml_is_plain_and_small(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes("a: [1, é]\nb: &one {c: 1}\nd: [*one, *one]\n".encode())
    assert files.read_yaml(tmp_path / "x.yaml") == {"a": [1, "é"], "b": {"c": 1}, "d": [{"c": 1}, {"c": 1}]}
    with pytest.raises(ValueError, match="^it holds itself$"):
        files.plain_yaml("&a [*a]")
    with pytest.raises(ValueError, match="^it holds itself$"):
        files.plain_yaml("&a {x: {y: *a}}")
    with pytest.raises(ValueError) as caught:
        files.plain_yaml("a: [1\nb: 2")
    assert "\n" not in str(caught.value) and "line 2" in str(caught.value)


@pytest.mark.parametrize(("count", "fits"), [(99_999, True), (100_000, False)])
def test_values_are_counted_with_the_list_that_holds_them(count: int, fits: bool) -> None:
    # A list of n values is n + 1 values; 100,000 of them are allowed.
    parts = [f"[{','.join('1' * 1000)}]"] + ["*a"] * 98
    # A shared list of 1,000 numbers is 1,001 values, 99 of them and the outer list 99,100.
    text = f"[&a {', '.join(parts)}, {', '.join('1' * (count + 1 - 99_100))}]"
    if fits:
        assert len(files.plain_yaml(text)) == 99 + 900
    else:
        with pytest.raises(ValueError, match="^it holds more than 100,000 values$"):
            files.plain_yaml(text)


def test_a_long_text_is_refused_before_it_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NODES", 1000)
    assert files.plain_yaml("- 1\n" * 900) == [1] * 900
    with pytest.raises(ValueError, match="^it holds more than 1,000 values$"):
        files.plain_yaml("- 1\n" * 2100 + "]")


def test_aliases_count_as_often_as_they_are_used() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ValueError, match="it holds more than 100,000 values"):
        files.plain_yaml("\n".join(lines))


def test_merged_mappings_count_as_often_as_they_are_merged() -> None:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)]
    started = time.perf_counter()
    with pytest.raises(ValueError, match="^it holds more than 100,000 values$"):
        files.plain_yaml("\n".join(lines))
    assert time.perf_counter() - started < 1
    with pytest.raises(ValueError, match="^it holds itself$"):
        files.plain_yaml("&a {<<: *a}")
    assert files.plain_yaml("a: &a {x: 1}\nb: {<<: [*a, {y: 2}], x: 3}")["b"] == {"x": 3, "y": 2}


_SCALARS = (
    "1e-4 1E5 -1e3 +1e3 .5 1. 1_000 1.5e+3 1:30 1:30.5 0x1f 010 .inf -.INF .nan 1e e5 1e-4x 12345e67 yes No true null ~ "
    "2020-01-01 2020-01-01T10:00:00Z 1_0e3 ._5 .1e3 1__0 '1e-4' \"2\" x 3.14.15 +x"
)


@pytest.mark.parametrize("scalar", _SCALARS.split())
def test_a_value_is_read_as_hydra_reads_it(scalar: str) -> None:
    expected = OmegaConf.to_container(OmegaConf.create(f"key: {scalar}"))
    assert repr(files.plain_yaml(f"key: {scalar}")) == repr(expected)


@pytest.mark.parametrize("scalar", _SCALARS.split())
def test_a_text_is_written_as_one_for_every_reader(scalar: str) -> None:
    written = files.yaml_text({"key": scalar})
    assert files.plain_yaml(written) == yaml.safe_load(written) == {"key": scalar}
    assert OmegaConf.to_container(OmegaConf.create(written)) == {"key": scalar}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "line 3 has 'a' a second time, once in line 1; one of the two is meant"),
        ("a:\n  b: 1\n  'b': 2", "line 3 has 'b' a second time, once in line 2; one of the two is meant"),
        ("{a: 1, a: 1}", "line 1 has 'a' a second time, in the same line; one of the two is meant"),
        ("a: !!bool x", "a value does not fit its tag"),
        ("a: !!timestamp x", "a value does not fit its tag"),
    ],
)
def test_what_is_no_plain_mapping_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        files.plain_yaml(text)


def test_the_same_text_is_no_key_twice_in_different_mappings_or_types() -> None:
    assert files.plain_yaml("a: {x: 1}\nb: {x: 1}\n1: a\n'1': b") == {"a": {"x": 1}, "b": {"x": 1}, 1: "a", "1": "b"}


def test_a_key_twice_in_json_that_a_person_wrote() -> None:
    assert files.plain_json('{"a": 1, "a": 2}') == {"a": 2}
    with pytest.raises(ValueError, match="^it has 'a' twice in one object$"):
        files.plain_json('[{"b": 1, "a": 1, "a": 2}]', unique=True)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    with pytest.raises(OSError, match="it is no ordinary file"):
        files.read_yaml(tmp_path / "x.yaml")


def test_there_is_one_reader_and_one_writer_of_yaml() -> None:
    package = Path(files.__file__).parent
    others = [
        path for path in package.rglob("*.py") if re.search(r"^\s*(import|from) yaml\b", path.read_text("utf-8"), re.M)
    ]
    assert [path.name for path in others] == ["files.py"]


def test_rows_as_csv() -> None:
    rows = [{"a": 1, "b": "x,y"}, {"b": 'say "é"'}]
    assert files.csv_text(rows) == 'a,b\n1,"x,y"\n,"say ""é"""\n'
    assert files.csv_text(rows, ["b", "a"]) == 'b,a\n"x,y",1\n"say ""é""",\n'
    assert files.csv_text([]) == ""
    assert files.csv_text([], ["a", "b"]) == "a,b\n"
    with pytest.raises(ValueError, match="'c'"):
        files.csv_text([{"a": 1}, {"c": 2}])


def test_hashes_are_blake2b_and_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    content = bytes(range(256)) * 5
    wanted = hashlib.blake2b(content, digest_size=16).hexdigest()
    monkeypatch.setattr(files, "_CHUNK", 100)
    (tmp_path / "x").write_bytes(content)
    assert files.digest_bytes(content) == files.digest_file(tmp_path / "x") == wanted
    # Records hold these: they are the same for every version.
    assert files.digest({"b": [1, 2.5, None], "a": "é"}) == files.digest({"a": "é", "b": [1, 2.5, None]})
    assert files.digest({"b": [1, 2.5, None], "a": "é"}) == files.digest_bytes('{"a":"é","b":[1,2.5,null]}'.encode())


def test_a_seal_is_of_what_is_stored(tmp_path: Path) -> None:
    files.write_sealed(tmp_path / "x.json", {"b": float("nan"), "a": (1, 2)})
    stored = files.read_json(tmp_path / "x.json")
    assert stored == {"b": None, "a": [1, 2], "checksum": files.digest({"a": [1, 2], "b": None})}
    assert list(stored) == ["b", "a", "checksum"]
    assert files.seal_is_broken({**stored, "checksum": "0"}) is True


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a b/c:d", "a_b_c_d"), ("../../etc/passwd", "etc_passwd"), (".hidden", "hidden"), ("x+1-2.png", "x+1-2.png"),
        ("", "unnamed"), ("...", "unnamed"), ("é", "unnamed"), ("_x_", "x"), ("X-RAY_X", "X-RAY_X"),
        ("a" * 100, "a" * 80), ("aéé9Z", "a_9Z"),
    ],
)  # fmt: skip
def test_names_of_files_are_safe(text: str, name: str) -> None:
    assert files.safe_name(text) == name


def test_what_is_no_text_cannot_be_stored() -> None:
    for text, wanted in (("abc", True), ("é日", True), ("\ue000\U0001f600", True)):
        assert files.is_utf8(text) is wanted
        text.encode("utf-8")
    for text in ("\ud800", "a\udc80", "\udfff é"):
        assert files.is_utf8(text) is False
        with pytest.raises(UnicodeEncodeError):
            text.encode("utf-8")


def test_a_folder_that_can_be_written_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.is_writable(tmp_path) and files.is_writable(tmp_path / "not" / "yet")
    assert list(tmp_path.iterdir()) == []
    assert files.nearest_existing(tmp_path / "not" / "yet") == tmp_path == files.nearest_existing(tmp_path)
    (tmp_path / "file").write_text("x")
    assert not files.is_writable(tmp_path / "file") and not files.is_writable(tmp_path / "file" / "below")
    monkeypatch.chdir(tmp_path)
    assert files.nearest_existing(Path("none/of/these")) == tmp_path

    def refused(self: Path, mode: int = 0o666, exist_ok: bool = True) -> None:
        assert self.parent == tmp_path and not exist_ok and self.name.startswith(f".mlpipe-probe-{os.getpid()}-")
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", refused)
    assert not files.is_writable(tmp_path)


def test_a_machine_is_told_by_name_start_and_container(monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    here = files.machine()
    assert files.machine.__wrapped__() == here
    monkeypatch.setattr(platform, "node", lambda: "another")
    other = files.machine.__wrapped__()
    assert other != here and files.machine() == here
    monkeypatch.setattr(Path, "read_text", lambda self, encoding=None: f"{self} started again")
    started = files.machine.__wrapped__()
    monkeypatch.setattr(Path, "readlink", lambda self: Path(f"{self} of another container"))
    assert len({here, other, started, files.machine.__wrapped__()}) == 4
    monkeypatch.setattr(Path, "exists", lambda self: False)
    monkeypatch.setattr(Path, "is_symlink", lambda self: False)
    assert files.machine.__wrapped__() == files.digest(["another", "", ""])[:8]


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx", "\r=x", "'x", "''=x", "a\rb", 'a"b', "a,b", "x", ""])
def test_a_cell_that_a_spreadsheet_would_compute_is_text_and_reads_back_as_it_was(text: str) -> None:
    import csv
    import io

    written = files.csv_text([{"name": text, "value": -1.5}])
    (row,) = csv.DictReader(io.StringIO(written, newline=""))
    assert not row["name"].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert files.unmarked(row["name"]) == text and row["value"] == "-1.5"
    assert written.endswith("\n") and written.count("\n") == 2


@pytest.mark.parametrize("number", ["-1", "+2.5", "-1e-3", "-inf"])
def test_numbers_are_no_formulas(number: str) -> None:
    assert files.csv_text([{"a": number}]) == f"a\n{number}\n"


def test_nothing_is_appended_through_a_link_or_to_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("mine\n")
    (tmp_path / "link").symlink_to(tmp_path / "own")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(ProjectError, match="is a link or no ordinary file"):
            files.append_line(tmp_path / name, "x")
    assert (tmp_path / "own").read_text() == "mine\n"
    files.append_line(tmp_path / "own", "x")
    assert (tmp_path / "own").read_text() == "mine\nx\n"


def test_links_that_lead_out_of_a_folder_are_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (home / "left").mkdir()
    for name, target in (
        ("a", tmp_path),
        ("sub/b", tmp_path / "none"),
        ("sub/inner", home / "sub"),
        ("left/c", tmp_path),
    ):
        (home / name).symlink_to(target)
    assert files.links_out(home, leaving=("left",)) == [home / "a", home / "sub" / "b"]
    assert files.links_out(tmp_path / "nowhere") == []


def test_rows_of_a_table_come_back(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('\ufeffepoch,note\n0,"a,\nb"\n\n1,\n', "utf-8")
    assert files.csv_rows(path) == [{"epoch": "0", "note": "a,\nb"}, {"epoch": "1", "note": ""}]
    path.write_text("", "utf-8")
    assert files.csv_rows(path) == []


@pytest.mark.parametrize("text", ["a,a\n1,2\n", "a,b\n1\n", "a,b\n1,2,3\n", "a\n" + "1" * 200_000 + "\n"])
def test_a_table_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="it|cells"):
        files.csv_rows(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; free space; go on"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk quota is used up; free space; go on"),
        (OSError(errno.EFBIG, "File too large"), f"{TOO_LARGE}; raise that limit; go on"),
        (RuntimeError("I/O error: File too large (os error 27)"), f"{TOO_LARGE}; raise that limit; go on"),
        (DiskFull("2 folds need 3.0 MB"), "2 folds need 3.0 MB; free space; go on"),
    ],
)
def test_what_is_full_is_told_apart(error: Exception, sentence: str) -> None:
    assert str(DiskFull(files.why_full(error), "go on")) == sentence


def read_by(make: Any, text: str) -> Any:
    """What a loader makes of a text, or the kind of its refusal and, of the checks, the sentence."""
    try:
        return repr(files._constructed(make, text))
    except yaml.YAMLError:
        return yaml.YAMLError
    except ValueError as error:
        return str(error)


ODD = ["a:\tb", "a: '\ufeff'", "a: \x85", "{a: b?c: d}", "%YAML 1.1# x\n---\na: b", "[!, a]", "!", "a: |# x\n  b"]
BOUNDS = [
    "{a: 1, b: {c: 2, c: 3}}",
    "a: 1\nb: 2\na: 3",
    "&a [*a]",
    "x: " + "1" * 5000,
    "[" * 300 + "]" * 300,
    "a: [1\nb: 2",
]


@pytest.mark.skipif(len(files._LOADERS) == 1, reason="PyYAML without libyaml")
def test_both_parsers_of_yaml_read_alike() -> None:
    quick, plain = files._LOADERS
    conf = sorted((Path(__file__).parents[1] / "conf").rglob("*.yaml"))
    shipped = [path.read_text("utf-8") for path in conf[::5]]
    merged = (
        "a: &x {b: 1e-4}\nc: {<<: *x, d: 2001-01-01}\ne: [yes, ~, .5, 1:30, 0x1F]\nf: |\n  x\n  y\ng: >-\n  p\n  q\n"
    )
    for text in [*shipped, merged, "", "--- a\n...\n", "!!binary aGk=", "!!python/name:os.system x", *BOUNDS]:
        assert read_by(quick, text) == read_by(plain, text), text
    # Where they differ, PyYAML's own reads alone.
    assert {read_by(quick, text) == read_by(plain, text) for text in ODD} >= {False}
    assert all(files._loaders(text) == [plain] for text in ODD)
    assert all(files._loaders(text)[0] is quick for text in BOUNDS)


def test_what_is_wrong_with_yaml_is_said_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"while parsing a flow sequence .* line 2, column 4.* line 3, column 2"):
        files.plain_yaml("x: 1\na: [1\nb: 2")


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("=cmd|' /C calc'!A0", True), ("+a", True), ("-a", True), ("@x", True), ("\tx", True), ("\rx", True), ("'x", True),
        ("-1", False), ("-1e9", False), ("+.5", False), ("-1.", False), ("+inf", False), ("a", False), ("", False), ("1-", False),
        ("-1+1", True), ("-1_0", True), ("-1\n", True), ("\t1", True), ("-e5", True), ("-.", True), ("a\n=x", False),
    ],
)  # fmt: skip
def test_a_number_stays_and_what_a_spreadsheet_would_compute_does_not(text: str, marked: bool) -> None:
    assert files.marked(text) == (f"'{text}" if marked else text)
    assert files.marked(-0.5) == -0.5


def test_a_table_of_cells_is_marked_as_rows_are() -> None:
    import csv
    import io

    lines = [["=a", "b"], ["a\rb", -1], [None, "-1"]]
    written = files.csv_table(lines)
    assert list(csv.reader(io.StringIO(written, newline=""))) == [["'=a", "b"], ["a\rb", "-1"], ["", "-1"]]


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("elsewhere"), lambda path: path.mkdir()])
def test_a_link_or_a_folder_is_no_lock(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(path := tmp_path / ".lock")
    with pytest.raises(ProjectError, match=r"\.lock: is a link or no ordinary file, .*; remove it"), files.locked(path):
        pass
    assert not (tmp_path / "elsewhere").exists()
