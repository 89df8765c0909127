"""Hostile inputs, each built by code in an empty folder, and what the command line makes of them."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlpipe.cli import main

# A payload that runs makes this file beside the working folder.
PROOF = "proof"
_FOLDERS = {"MML_RESULTS_PATH": "results", "MML_DATA_PATH": "data", "MML_SECRET": ""}


@dataclass(frozen=True)
class Hostile:
    """One hostile input.

    Attributes:
        name: What it is, in a few words.
        make: Builds it in the working folder and gives the command line. Beside that folder lie `results`, `data` and
            `outside`, which nothing may touch.
        expect: A part of the sentence.
        code: What the command ends with; 0 for what is harmless and allowed.
        begun: Whether it is seen only when the run has begun, so that the run has a folder.
    """

    name: str
    make: Callable[[Path], list[str]]
    expect: str
    code: int = 2
    begun: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        code: The exit code.
        sentences: What was written to standard error.
        shown: What was written to standard output.
        touched: Files outside of `results` and `data` that are new, gone or changed.
        results: The same of the results folder.
    """

    code: int
    sentences: list[str]
    shown: str
    touched: list[str]
    results: list[str]


def attempt(case: Hostile, root: Path) -> Outcome:
    """Build a case below an empty folder and run its command line there, as a user would."""
    work, outside = root / "work", root / "outside"
    for folder in (work, outside):
        folder.mkdir()
    (outside / "secret.txt").write_text("the user's own")
    with _within(root, work):
        arguments = case.make(work)
        before, before_results = contents(root, without=("results", "data")), contents(root / "results")
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = main(arguments)
        after, after_results = contents(root, without=("results", "data")), contents(root / "results")
    return Outcome(
        code,
        error.getvalue().splitlines(),
        out.getvalue(),
        sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)),
        sorted(
            name
            for name in before_results.keys() | after_results.keys()
            if before_results.get(name) != after_results.get(name)
        ),
    )


def contents(root: Path, without: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Every file below a folder with its bytes (of links, where they lead); Python's caches are left out."""
    found: dict[str, bytes] = {}
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = [name for name in folders if name != "__pycache__" and not (here == root and name in without)]
        for path in (here / name for name in (*names, *folders)):
            name = os.fsencode(path.relative_to(root)).decode("latin-1")
            if path.is_symlink():
                found[name] = b"-> " + os.fsencode(path.readlink())
            elif path.is_file():
                found[name] = path.read_bytes() if path.stat().st_size < 1 << 24 else b"large"
            else:
                found[name] = b"folder"
    return found


@contextlib.contextmanager
def _within(root: Path, work: Path) -> Iterator[None]:
    """The program's folders and the current one lie below `root` meanwhile."""
    before, here = {key: os.environ.get(key) for key in _FOLDERS}, Path.cwd()
    os.environ |= {key: str(root / name) if name else "hunter2" for key, name in _FOLDERS.items()}
    os.chdir(work)
    try:
        yield
    finally:
        os.chdir(here)
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
