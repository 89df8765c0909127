"""Kill a command at many points, continue it, and compare all its files with those of an uninterrupted run.

Every durable write has five points (before, written, fsynced, renamed, done), every appended line three (before, half of it,
done), every batch of training, validation and prediction two. Points are patched into a child process, forked from a parent
that has imported everything; the package itself is unchanged.

    python scripts/kill_matrix.py [--points 200] [--workers 0,1,4] [--shapes one,five,stages] [--mode kill] [--json | --table]

`kill` ends the process with SIGKILL; `term` sends SIGTERM and `usr1` SIGUSR1, both of which must end in exit status 75; `full`
makes every later fsync fail as on a full disk, which must also end in exit status 75. Shapes are one fold, five folds and one
fold in two stages; `create`, `pp`, `predict` and `post` interrupt these commands, which are then repeated. All points of a
shape are compared with one uninterrupted run, for any number of workers.
"""

from __future__ import annotations

import argparse
import csv
import errno
import importlib
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pyarrow.parquet as pq
import pytorch_lightning  # noqa: F401  (imported once, here, for every child)
import torch

from mlpipe import files
from mlpipe.cli import main as mml
from mlpipe.learn.module import FoldModule
from mlpipe.modes import train as training_mode  # noqa: F401  (likewise)
from mlpipe.predicting import through
from mlpipe.runs import journal, records
from mlpipe.runs.project import Project

Mode = Literal["kill", "term", "usr1", "full"]


@dataclass(frozen=True)
class Shape:
    """An interrupted command.

    Attributes:
        words: The command.
        before: Commands that run once before it.
    """

    words: Sequence[str]
    before: Sequence[Sequence[str]] = ()

    @property
    def trains(self) -> bool:
        """Whether `continue=latest` continues it; other commands are repeated."""
        return self.words[0] == "train"


_TASK = ["task=digits"]
_QUICK = ["arch=test_resnet", "arch.pretrained=false", "preprocessing.size=16", "sampling.batch_size=64"]
_SPLIT = ["mode.nested=false", "sys.threads=1", "split.test_fraction=0.85"]
_TRAIN = ["train", *_TASK, *_QUICK, *_SPLIT]
_ALL = [*_TRAIN, "mode.subroutines=[train,predict,test]"]
_TWO_FOLDS = [*_TRAIN, "split.folds=2", "trainer.max_epochs=1"]
SHAPES = {
    "one": Shape([*_ALL, "trainer.max_epochs=3", "mode.folds=[0]", "split.folds=2"]),
    "five": Shape([*_ALL, "split.folds=5", "trainer.max_epochs=2"]),
    "stages": Shape(
        [*_ALL, "mode.folds=[0]", "split.folds=2", "stages.list=[{epochs:2,freeze:true},{epochs:2,lr:1e-3}]"]
    ),
    "create": Shape(["create", *_TASK]),
    "pp": Shape(["pp", *_TASK, "preprocessing.size=16"], [["create", *_TASK]]),
    "predict": Shape(
        ["predict", *_TASK, *_QUICK, *_SPLIT, "split.folds=2", "trainer.max_epochs=1"],
        [[*_TWO_FOLDS, "mode.subroutines=[train]"]],
    ),
    "post": Shape(["post", "sys.threads=1"], [[*_TWO_FOLDS, "mode.subroutines=[train,predict,test]"]]),
}
RESUMABLE = 75
_HEAVY = (
    "mlpipe",
    "torch",
    "torchvision",
    "timm",
    "pytorch_lightning",
    "sklearn",
    "scipy",
    "pandas",
    "pyarrow",
    "PIL",
    "hydra",
)
_OF_TIME = ("train_seconds", "train_images_per_s", "data_wait", "seconds")
_OF_RUN = ("record", "record_id", "model", "run", "id")
_OF_ENSEMBLE = ("id", "created", "run", "checksum")


@dataclass(frozen=True)
class Outcome:
    """The outcome of an interruption at one point.

    Attributes:
        workers: Number of loader processes.
        shape: The interrupted command, a key of SHAPES.
        point: The number of the point in the run.
        name: The event at the point.
        status: Exit status of the child (negative: the signal).
        how: `continue` or `again`, how the command was continued.
        result: `identical`, or what is wrong.
    """

    workers: int
    shape: str
    point: int
    name: str
    status: int
    how: str
    result: str


class Points:
    """Counts the points in a child, and interrupts it at one of them.

    Args:
        strike_at: The number of the point, -1 for none.
        strike: The interruption.
    """

    def __init__(self, strike_at: int, strike: Callable[[], None]) -> None:
        self._strike_at, self._strike, self._owner = strike_at, strike, os.getpid()
        self.names: list[str] = []

    def reach(self, name: str) -> None:
        """Record a point, and interrupt at the selected one. Loader processes do not count."""
        if os.getpid() != self._owner:
            return
        self.names.append(name)
        if len(self.names) - 1 == self._strike_at:
            self._strike()

    def patch(self) -> None:
        """Patch the durable writes, appended lines and batches of this process with points."""
        durable, append, replace = files.durable, files.append_line, Path.replace

        @contextmanager
        def counted(path: Path) -> Iterator[Path]:
            label = _label(path)
            self.reach(f"before {label}")
            with durable(path) as temporary:
                yield temporary
                self.reach(f"written {label}")
            self.reach(f"done {label}")

        def renamed(source: Path, target: Any) -> Path:
            self.reach(f"fsynced {_label(Path(target))}")
            renamed_path = replace(source, target)
            self.reach(f"renamed {_label(Path(target))}")
            return renamed_path

        def appended(path: Path, line: str) -> None:
            self.reach(f"before a line of {path.name}")
            if len(self.names) == self._strike_at:
                with path.open("a", encoding="utf-8") as handle:
                    handle.write(line[: len(line) // 2])
                self.reach(f"half a line of {path.name}")
            else:
                self.reach(f"half a line of {path.name}")
                append(path, line)
            self.reach(f"after a line of {path.name}")

        files.durable, files.append_line = counted, appended  # type: ignore[assignment]
        Path.replace = renamed  # type: ignore[method-assign, assignment]
        for step in ("training_step", "validation_step"):
            self._patch_step(step)
        predicted = through._predicted

        def kept(*arguments: Any) -> Any:
            self.reach("before a batch of predictions")
            outputs = predicted(*arguments)
            self.reach("after a batch of predictions")
            return outputs

        through._predicted = kept

    def _patch_step(self, step: str) -> None:
        original = getattr(FoldModule, step)

        def stepped(module: FoldModule, batch: Any, batch_idx: int) -> Any:
            self.reach(f"before {step}")
            result = original(module, batch, batch_idx)
            self.reach(f"after {step}")
            return result

        setattr(FoldModule, step, stepped)


def _label(path: Path) -> str:
    return path.name.rpartition(".tensors")[1] or path.name if "tensors" in path.name else path.suffix + " " + path.stem


def child(
    words: Sequence[str], folder: Path, strike_at: int = -1, mode: Mode = "kill", names: Path | None = None
) -> int:
    """Run `mml WORDS` in a folder, in a forked child; return its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.setsid()
            os.chdir(folder)
            handle = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            torch.set_num_threads(1)
            points = Points(strike_at, _strikes()[mode])
            points.patch()
            status = mml(list(words))
            if names is not None:
                names.write_text(json.dumps({"points": points.names, "modules": list(sys.modules)}))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    # Loader processes of a killed training would only end some seconds later.
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(ended)


def _strikes() -> dict[Mode, Callable[[], None]]:
    return {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
        "usr1": lambda: os.kill(os.getpid(), signal.SIGUSR1),
        "full": _fill_the_disk,
    }


def _fill_the_disk() -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.fsync = full
    full()


def fingerprint(folder: Path) -> dict[str, Any]:
    """Return the contents of a project without times and names of runs: hashes of weights, curves, scores, predictions,
    the newest ensemble, the task and its cache."""
    project, contents = Project(folder / "results" / "default"), dict[str, Any]()
    for record in records.load_all(project):
        home, key = project.model_dir(record.pivot, record.id), f"{record.task} fold {record.fold}"
        rows = csv.DictReader(io.StringIO((home / records.METRICS_FILE).read_text("utf-8")))
        contents[f"{key} x{list(contents).count(key)}"] = {
            "weights": files.digest_file(home / records.WEIGHTS_FILE),
            "recorded": record.weights,
            "curves": [{key: value for key, value in row.items() if key not in _OF_TIME} for row in rows],
            "scores": json.dumps(record.scores, sort_keys=True),
            "predictions": table_digest(project.predictions_file(record.pivot, record.id)),
            "best": record.best_epoch,
        }
    for ensemble in sorted(project.tasks_dir().glob("*/ensembles/*.json"), key=lambda path: path.stat().st_mtime)[-1:]:
        facts = {key: value for key, value in json.loads(ensemble.read_text()).items() if key not in _OF_ENSEMBLE}
        rows = table_digest(ensemble.with_suffix(".parquet"))
        contents["ensemble"] = {"record": json.dumps(facts, sort_keys=True), "rows": rows}
    for path in sorted((folder / "mlpipe_data").rglob("*")):
        # Hidden files say which process uses a cache.
        if path.is_file() and path.suffix in (".json", ".npy", ".bin") and not path.name.startswith("."):
            content = re.sub(rb'"seconds": [0-9.]+', b"", path.read_bytes())
            contents[path.relative_to(folder).as_posix()] = {"content": files.digest_bytes(content)}
    return contents


def table_digest(path: Path) -> str | None:
    """Return the hash of a table's values, without the names of runs; None if there is no table."""
    if not path.is_file():
        return None
    table = pq.ParquetFile(path).read().to_pandas()
    table = table.drop(columns=[name for name in table.columns if name in _OF_RUN])
    return files.digest_bytes(table.to_json(orient="split", double_precision=15).encode())


def try_point(folder: Path, workers: int, shape: str, point: int, name: str, mode: Mode, whole: Any) -> Outcome:
    """Interrupt at one point, continue, and compare."""
    prepared(folder, SHAPES[shape])
    words = [*SHAPES[shape].words, f"sys.num_workers={workers}"]
    status = child(words, folder, point, mode)
    expected = {-signal.SIGKILL} if mode == "kill" else {RESUMABLE, 0}
    has_run = SHAPES[shape].trains and bool(journal.all_runs(Project(folder / "results" / "default")))
    again = ["train", "continue=latest", f"sys.num_workers={workers}"] if has_run else words
    ended, log = child(again, folder), folder / "log.txt"
    result = "identical"
    if status not in expected:
        result = f"ended with {status} instead of one of {sorted(map(int, expected))}"
    elif ended != 0:
        result = f"continuing ended with {ended}: {log.read_text('utf-8').strip().splitlines()[-1]}"
    else:
        result = difference(whole, fingerprint(folder))
    if result == "identical":
        shutil.rmtree(folder)
    return Outcome(workers, shape, point, name, status, "continue" if has_run else "again", result)


def prepared(folder: Path, shape: Shape) -> None:
    """Create a folder in which the commands before the interrupted one have run."""
    source = folder.parent / "before"
    if not source.is_dir():
        source.mkdir(parents=True)
        for words in shape.before:
            if status := child(words, source):
                raise SystemExit(f"mml {' '.join(words)} ended with {status}; {source / 'log.txt'} says why")
    shutil.copytree(source, folder, copy_function=shutil.copy2)


def difference(whole: dict[str, Any], resumed: dict[str, Any]) -> str:
    """Return `identical`, or the differences."""
    if set(whole) != set(resumed):
        return f"records differ: {sorted(whole)} and {sorted(resumed)}"
    wrong = [f"{key}: {part}" for key in whole for part in whole[key] if whole[key][part] != resumed[key][part]]
    return "differs in " + ", ".join(wrong) if wrong else "identical"


def matrix(
    folder: Path, points: int, workers: list[int], shapes: list[str], mode: Mode, tell: Callable[[Outcome], None]
) -> list[Outcome]:
    """Interrupt at `points` points, distributed over the shapes, one of each kind first; numbers of workers take turns."""
    outcomes: list[Outcome] = []
    for index, shape in enumerate(shapes):
        share = points // len(shapes) + (index < points % len(shapes))
        base = folder / shape
        base.mkdir(parents=True)
        names_file, uninterrupted = base / "names.json", base / "whole"
        prepared(uninterrupted, SHAPES[shape])
        if status := child([*SHAPES[shape].words, "sys.num_workers=0"], uninterrupted, names=names_file):
            raise SystemExit(f"the uninterrupted run ended with {status}; {uninterrupted / 'log.txt'} says why")
        seen, whole = json.loads(names_file.read_text()), fingerprint(uninterrupted)
        names = seen["points"]
        _import_once(seen["modules"])
        for turn, point in enumerate(spread(names, share)):
            many = workers[turn % len(workers)]
            outcomes.append(try_point(base / f"point{point}", many, shape, point, names[point], mode, whole))
            tell(outcomes[-1])
    return outcomes


def _import_once(modules: list[str]) -> None:
    """Import the modules that a training imports later, so that no child has to."""
    for name in modules:
        if name not in sys.modules and name.partition(".")[0] in _HEAVY:
            with suppress(Exception):
                importlib.import_module(name)


def spread(names: list[str], count: int) -> list[int]:
    """Return `count` points: the first of every name, then evenly spaced ones of the rest."""
    first = list({name: index for index, name in reversed(list(enumerate(names)))}.values())[::-1]
    if count <= len(first):
        return sorted(first[index * len(first) // count] for index in range(count))
    rest = sorted(set(range(len(names))) - set(first))
    more = min(count - len(first), len(rest))
    return sorted([*first, *(rest[index * len(rest) // more] for index in range(more))])


def line(outcome: Outcome) -> str:
    """Format an outcome as a line."""
    at = f"{outcome.shape:6} {outcome.workers} workers, point {outcome.point:3} {outcome.name}"
    return f"{at:72} {outcome.how:9} {outcome.result}"


def table(outcomes: list[Outcome], mode: Mode) -> str:
    """Format the counts as Markdown: a row for each kind of point of each shape."""
    rows: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault((outcome.shape, outcome.name), []).append(outcome)
    lines = ["| signal | shape | point | workers | interrupted | bit-identical |", "|---|---|---|---|---|---|"]
    for (shape, name), of_point in rows.items():
        good = sum(outcome.result == "identical" for outcome in of_point)
        workers = ", ".join(map(str, sorted({outcome.workers for outcome in of_point})))
        lines.append(f"| {mode} | {shape} | {name} | {workers} | {len(of_point)} | {good} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--workers", default="0,1,4")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--mode", choices=["kill", "term", "usr1", "full"], default="kill")
    parser.add_argument("--folder", type=Path, help="folder that keeps failed runs; default: a temporary one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="mlpipe-kill-"))
    workers = [int(word) for word in arguments.workers.split(",")]

    def tell(outcome: Outcome) -> None:
        print(line(outcome), file=sys.stderr, flush=True)

    outcomes = matrix(folder, arguments.points, workers, arguments.shapes.split(","), arguments.mode, tell)
    wrong = [outcome for outcome in outcomes if outcome.result != "identical"]
    if arguments.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    elif arguments.table:
        print(table(outcomes, arguments.mode))
    else:
        print("\n".join(map(line, outcomes)))
        print(dict(Counter("identical" if outcome.result == "identical" else "wrong" for outcome in outcomes)))
    if arguments.folder is None and not wrong:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
