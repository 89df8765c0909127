"""Stored files that were edited: records, ensembles, tasks, caches, journals, locks, curves, configurations.

Each edit is of one file of a project that is whole otherwise, and a command reads that project.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlpipe.runs.project import Project
from tests.safety.corpus import Hostile

Make = Callable[[Path], list[str]]
_REPORT = ["info", "mode.subroutines=[report]"]
_MODELS = ["info", "mode.subroutines=[models]", "task=made"]
_POST = ["post", "task=made", "mode.report=false"]


def _project() -> Project:
    return Project(Path(os.environ["MML_RESULTS_PATH"]) / "default")


def _data() -> Path:
    return Path(os.environ["MML_DATA_PATH"])


def project(ensemble: bool = False) -> Project:
    """A project of two recipes with predictions of a made task, and an ensemble where asked for."""
    from mlpipe import cli
    from tests.program import test_post

    of = test_post.make_task(_data(), n=120)
    made = test_post.make_project(_project().root.parent, of, {"one": 2.0, "two": 1.0}, folds=2)
    if ensemble:
        assert cli.main(_POST) == 0
    return made


def edited(
    find: Callable[[Project], Path], change: Callable[[Any], Any], *command: str, ensemble: bool = False
) -> Make:
    """A stored JSON file with another content; `change` edits it, or gives the text or bytes to write instead."""

    def make(work: Path) -> list[str]:
        path = find(project(ensemble))
        stored = _stored(path)
        other = change(stored)
        if isinstance(other, bytes):
            path.write_bytes(other)
        else:
            path.write_text(other if isinstance(other, str) else json.dumps(stored), "utf-8")
        return list(command)

    return make


def record_file(made: Project) -> Path:
    """The first record."""
    return sorted(made.tasks_dir().glob("*/models/*/record.json"))[0]


def task_file(made: Project) -> Path:
    """The task."""
    return _data() / "made" / "task.json"


def ensemble_file(made: Project) -> Path:
    """The ensemble."""
    return sorted(made.tasks_dir().glob("*/ensembles/*.json"))[0]


def beside_record(name: str) -> Callable[[Project], Path]:
    """A file beside the first record."""
    return lambda made: record_file(made).with_name(name)


def put(*keys: str | int, value: Any) -> Callable[[Any], None]:
    """An edit of one value."""

    def change(stored: Any) -> None:
        for key in keys[:-1]:
            stored = stored[key]
        stored[keys[-1]] = value

    return change


def _run(name: str, content: str | bytes | Callable[[Path], object], *arguments: str) -> Make:
    """A run that can be continued, one file of which is another one."""

    def make(work: Path) -> list[str]:
        from tests.build import DIGITS, make_run

        path = make_run(_project(), DIGITS).folder / name
        path.unlink(missing_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(arguments or ("train", "continue=latest", "--dry-run"))

    return make


def _journal(line: str | bytes) -> Make:
    return _run("journal.jsonl", line)


def _cache(change: Callable[[Any], Any]) -> Make:
    """A cache of a folder's images whose index is edited."""

    def make(work: Path) -> list[str]:
        from mlpipe import cli
        from tests.safety.corpus.loops import _images

        _images(work)
        words = ["pp", "task=folder", "task.root=images", "preprocessing.size=8"]
        assert cli.main(words) == 0
        path = next(_data().rglob("index.json"))
        stored = json.loads(path.read_text("utf-8"))
        other = change(stored)
        path.write_text(other if isinstance(other, str) else json.dumps(stored), "utf-8")
        return words

    return make


_DEEP_LIST = "[" * 5000 + "]" * 5000
JOURNALS: dict[str, str | bytes] = {
    "a list": "[1, 2]\n",
    "a number": "7\n",
    "without a step": '{"event": "done"}\n',
    "without an event": '{"step": "fold_0"}\n',
    "a list as step": '{"step": [1], "event": "done"}\n',
    "no text": b'{"step": "\xff\xfe", "event": "done"}\n',
    "nested deep": f'{{"step": {_DEEP_LIST}, "event": "done"}}\n',
    "half a line": '{"step": "fo',
    "nothing but zeros": b"\0" * 4096,
    "a number beyond all": f'{{"step": "fold_0", "event": "done", "at": {"9" * 5000}}}\n',
}
CONFIGS: dict[str, bytes] = {
    "UTF-16": "mode_name: train\n".encode("utf-16"),
    "a tag": b"a: !!python/object/apply:os.system [id]\n",
    "5,000 digits": b"a: " + b"9" * 5000 + b"\n",
    "nested deep": b"a: " + b"[" * 2000 + b"]" * 2000,
    "a date out of range": b"a: 2026-99-99\n",
    "a list": b"[1, 2]\n",
    "hexadecimal without end": b"a: 0x" + b"f" * 5000 + b"\n",
}
CURVES: dict[str, bytes] = {
    "texts": b"epoch,train/loss,val/loss\nx,y,z\n",
    "a NUL": b"epoch,train/loss,val/loss\n0,\0,1\n",
    "no text": b"epoch,train/loss,val/loss\n\xff\xfe,1,1\n",
    "a cell without end": b"epoch,train/loss\n0," + b"1" * 200_000 + b"\n",
    "an infinite epoch": b"epoch,train/loss,val/loss\ninf,1,1\n",
}
PLANS: dict[str, str] = {
    "a list": "[1]",
    "versions that are a list": '{"format": 1, "steps": ["fold_0"], "versions": [1], "recipe": "x"}',
    "a command that is a number": '{"format": 1, "steps": ["fold_0"], "versions": {"git": 5}, "command": 7}',
    "no JSON": "{{{",
    "a number that is a text": '{"format": 1, "steps": ["fold_0"], "versions": {}, "number": "x"}',
}
LOCKS: dict[str, str] = {
    "a list": "[1]",
    "a number as its Slurm job": '{"pid": 1, "host": "h", "boot": "b", "started": "1", "slurm": 5}',
    "a Slurm job of three": '{"pid": 1, "host": "h", "boot": "b", "started": "1", "slurm": [1, 2, 3]}',
    "no process number": '{"host": "HOST", "boot": "b", "started": "1"}',
    "a process number that is a text": '{"pid": "x", "host": "HOST", "boot": "b", "started": "1"}',
    "nothing": "",
}


def _lock(text: str) -> Make:
    import platform

    return _run("running.json", text.replace("HOST", platform.node()))


def _run_plan(name: str) -> Callable[[Project], Path]:
    def find(made: Project) -> Path:
        from mlpipe.runs import records

        run = records.load_all(made)[0].run
        made.run_dir(run).mkdir(parents=True, exist_ok=True)
        return made.run_dir(run) / name

    return find


_RECORD_EDITS: dict[str, tuple[Callable[[Any], Any], tuple[str, ...], int]] = {
    "a kind that nobody knows": (put("kind", value="x"), tuple(_REPORT), 0),
    "a kind that nobody knows, in post": (put("kind", value="x"), tuple(_POST), 2),
    "events without a text": (put("events", value=[{}]), tuple(_REPORT), 0),
    "a score that is infinite": (put("scores", value={"val": {"accuracy": float("inf")}}), tuple(_REPORT), 0),
    "co-tasks without a kind": (put("co_tasks", value=[{"x": 1}]), tuple(_REPORT), 0),
}
_ENSEMBLE_EDITS: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "a score that is a text": (put("scores", value={"test": {"nll": ""}}), tuple(_REPORT)),
    "a score without the ends of its interval": (
        put("scores", value={"test": {"nll": {"value": 1e999}}}),
        tuple(_REPORT),
    ),
    "decisions that are texts": (put("decide", value={"thresholds": {"cuts": {"a": "x"}}}), tuple(_REPORT)),
    "parameters that are empty": (
        put("calibrations", value={"one-0": {"method": "temperature", "parameters": {}}}),
        tuple(_REPORT),
    ),
    "members that are empty": (put("members", value=[{}]), tuple(_REPORT)),
}
_TASK_EDITS: dict[str, Callable[[Any], Any]] = {
    "a source that is a list": put("source", value=[]),
    "a source that is nothing": put("source", value=None),
    "channels that are a list": put("channels", value=[]),
    "a lone surrogate": put("classes", value=["\ud800", "b"]),
}
_CACHE_EDITS: dict[str, Callable[[Any], Any]] = {
    "a dtype that is none": put("dtype", value="x"),
    "a lone surrogate": put("dtype", value="\ud800"),
    "no list of what cannot be read": put("unreadable", value=None),
    "what cannot be read is a list": put("unreadable", value=[1]),
    "images that are a text": put("images", value="x"),
    "more images than there are": put("images", value=10**9),
    "a list": lambda stored: "[1]",
    "nothing": lambda stored: "",
}
_PP = ["pp", "task=folder", "task.root=images", "preprocessing.size=8"]


def _own_lock(place: Callable[[Path], Path], put: Callable[[Path], object]) -> Make:
    """A cache that is to be made again, and a file or folder in the place of one of its locks."""

    def make(work: Path) -> list[str]:
        from mlpipe import cli
        from tests.safety.corpus.loops import _images

        _images(work)
        assert cli.main(_PP) == 0
        (index,) = _data().glob("*/cache/*/index.json")
        index.unlink()
        file = place(index.parent)
        file.unlink()
        put(file)
        return [*_PP, "task.max_unreadable=1"]

    return make


def _in_the_way(place: str, *words: str) -> Make:
    """A file where a folder of tasks or caches is to be."""

    def make(work: Path) -> list[str]:
        file = _data() / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
        return list(words)

    return make


_FOLDERS = {
    "all data": (".", ["info", "task=digits"]),
    "a task": ("digits", ["pp", "task=digits", "preprocessing.size=8"]),
    "caches": ("digits/cache", ["pp", "task=digits", "preprocessing.size=8"]),
}


def _link_outside(path: Path) -> None:
    path.symlink_to(Path.cwd().parent / "outside" / "secret.txt")


_NO_LOCK = "is a link or no ordinary file, so that it cannot be a lock"
CASES = [
    Hostile("lock of a cache: a folder", _own_lock(lambda cache: cache / ".lock", Path.mkdir), _NO_LOCK),
    Hostile("lock of a task: a folder", _own_lock(lambda cache: cache.parents[1] / ".lock", Path.mkdir), _NO_LOCK),
    Hostile("lock of a task: a pipe", _own_lock(lambda cache: cache.parents[1] / ".lock", os.mkfifo), "", code=0),
    Hostile(
        "lock of a task: a link outside",
        _own_lock(lambda cache: cache.parents[1] / ".lock", _link_outside),
        "is a link that leads elsewhere",
    ),
    Hostile(
        "journal: a million lines",
        _journal('{"at": "2026-01-01T00:00:00+00:00", "step": "a", "event": "start"}\n' * 1_000_000),
        "it has more than 100,000 lines",
    ),
    *(
        Hostile(f"a file in the place of {name}", _in_the_way(place, *words), "needs a folder where there is a file")
        for name, (place, words) in _FOLDERS.items()
    ),
    Hostile("lock of a run: a folder", _run(".lock", Path.mkdir, "train", "continue=latest"), _NO_LOCK, begun=True),
    *(Hostile(f"journal: {name}", _journal(line), "", code=0) for name, line in JOURNALS.items()),
    *(Hostile(f"lock: {name}", _lock(text), "", code=0) for name, text in LOCKS.items()),
    *(
        Hostile(
            f"stored configuration for the report: {name}",
            edited(beside_record("config.yaml"), lambda stored, c=content: c, *_REPORT),
            "",
            code=0,
        )
        for name, content in list(CONFIGS.items())[:2]
    ),
    *(
        Hostile(
            f"curve: {name}", edited(beside_record("metrics.csv"), lambda stored, c=content: c, *_REPORT), "", code=0
        )
        for name, content in list(CURVES.items())[:2]
    ),
    *(
        Hostile(
            f"plan for the report: {name}",
            edited(_run_plan("plan.json"), lambda stored, c=content: c, *_REPORT),
            "",
            code=0,
        )
        for name, content in list(PLANS.items())[:1]
    ),
    *(
        Hostile(f"edited record: {name}", edited(record_file, change, *command), "", code=code)
        for name, (change, command, code) in _RECORD_EDITS.items()
    ),
    *(
        Hostile(f"edited ensemble: {name}", edited(ensemble_file, change, *command, ensemble=True), "", code=0)
        for name, (change, command) in _ENSEMBLE_EDITS.items()
    ),
    Hostile(
        "edited ensemble: notes over two lines",
        edited(ensemble_file, put("notes", value=["\x1b]0;x\x07\nforged 1.000"]), "info", "task=made", ensemble=True),
        r"\x1b]0;x\x07 forged 1.000",
        code=0,
    ),
    *(
        Hostile(f"edited task: {name}", edited(task_file, change, *_POST), "task.json")
        for name, change in _TASK_EDITS.items()
    ),
    *(Hostile(f"edited cache: {name}", _cache(change), "", code=0) for name, change in _CACHE_EDITS.items()),
]


def _stored(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
