"""What every file of a project goes through: durable, sealed, and told when there is no room."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from mlpipe import files

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
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (RuntimeError("shapes do not fit"), False),
    ],
)
def test_libraries_that_write_by_themselves_say_it_in_words(error: Exception, full: bool) -> None:
    assert files.disk_is_full(error) is full


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")).filter(lambda key: key != "checksum"), PLAIN))
def test_what_is_sealed_reads_whole_and_a_change_breaks_it(content: dict[str, Any]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
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
