"""Projects, tasks and studies that somebody tampered with, or that come from elsewhere with bad intent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mlpipe.runs.project import Project
from tests.safety.corpus import PROOF, Hostile
from tests.safety.corpus.configurations import BOMB

_DEEP = "[" * 100_000
_DIGITS = ["task=digits", "arch=test_resnet", "arch.pretrained=false", "preprocessing.size=16", "sys.threads=1"]


def _project() -> Project:
    return Project(Path(os.environ["MML_RESULTS_PATH"]) / "default")


def _data() -> Path:
    return Path(os.environ["MML_DATA_PATH"])


def _record(change: Callable[[dict[str, Any]], object], *arguments: str) -> Callable[[Path], list[str]]:
    """A record whose JSON is changed; `change` may also give a text to write instead."""

    def make(work: Path) -> list[str]:
        from tests.build import make_record

        record = make_record(_project(), "one")
        path = _project().model_dir("digits", record.id) / "record.json"
        stored = json.loads(path.read_text("utf-8"))
        other = change(stored)
        path.write_text(other if isinstance(other, str) else json.dumps(stored), "utf-8")
        return list(arguments or ("info", "mode.subroutines=[models]", *_DIGITS))

    return make


def _grown_record(work: Path) -> list[str]:
    """A record of 100 MB, most of which the disk does not have."""
    words = _record(lambda stored: None)(work)
    os.truncate(_project().model_dir("digits", "one") / "record.json", 100 << 20)
    return words


def _set(**facts: Any) -> Callable[[dict[str, Any]], object]:
    return lambda stored: stored.update(facts)


def _climbing(**facts: Any) -> Callable[[Path], list[str]]:
    """A record that names a file outside as its weights, and the command that would delete them."""

    def make(work: Path) -> list[str]:
        (work.parent / "outside" / "weights.safetensors").write_text("the user's own")
        clean = ("clean", "mode.subroutines=[parameters]", "mode.force=true", "mode.all=true")
        return _record(_set(**facts), *clean)(work)

    return make


def _config(change: Callable[[dict[str, Any], Path], object], *arguments: str) -> Callable[[Path], list[str]]:
    """A run that can be continued, whose stored configuration is changed."""

    def make(work: Path) -> list[str]:
        from tests.build import DIGITS, make_run

        run = make_run(_project(), DIGITS)
        path = run.folder / "config.yaml"
        tree = yaml.safe_load(path.read_text("utf-8"))
        other = change(tree, work)
        path.write_text(other if isinstance(other, str) else yaml.safe_dump(tree), "utf-8")
        return ["train", "continue=latest", *arguments]

    return make


def _run_file(name: str, text: str) -> Callable[[Path], list[str]]:
    def make(work: Path) -> list[str]:
        from tests.build import DIGITS, make_run

        (make_run(_project(), DIGITS).folder / name).write_text(text)
        return ["train", "continue=latest"]

    return make


def _trusting(tree: dict[str, Any], work: Path) -> None:
    tree["trust"] = ["os", "posix"]
    tree["loss"] = {"_target_": "os.mknod", "path": str(work.parent / PROOF)}


def _no_network(tree: dict[str, Any], work: Path) -> None:
    tree["arch"] = "os.system"


def _task(change: Callable[[dict[str, Any]], object], *arguments: str) -> Callable[[Path], list[str]]:
    """A created task whose JSON is changed, its hash made to fit."""

    def make(work: Path) -> list[str]:
        from mlpipe import files
        from mlpipe.data import task
        from mlpipe.data.task import Row
        from tests.safety.corpus.archives import good

        rows = []
        for member, data in good().items():
            (work / "images" / member).parent.mkdir(parents=True, exist_ok=True)
            (work / "images" / member).write_bytes(data)
            rows.append(Row(member, "train", int(member[0] == "b"), files.digest_bytes(data)))
        made = task.make("mine", ["a", "b"], rows, channels=3, source={"type": "folder", "root": str(work / "images")})
        path = _data() / "mine" / "task.json"
        task.save(made, path)
        stored = json.loads(path.read_text("utf-8"))
        other = change(stored)
        stored["source_hash"] = files.digest([stored["kind"], stored["classes"], stored["dtype"], stored["samples"]])
        path.write_text(other if isinstance(other, str) else json.dumps(stored), "utf-8")
        return list(arguments or ("pp", "task=mine", "preprocessing.size=8"))

    return make


def _sample(name: str) -> Callable[[dict[str, Any]], None]:
    """The first sample is another file, of which the hash is known."""

    def change(stored: dict[str, Any]) -> None:
        stored["samples"]["id"][0] = name

    return change


def _column(key: str, values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda stored: stored["samples"].__setitem__(key, values)


def _predictions(change: Callable[[Any], Any]) -> Callable[[Path], list[str]]:
    """Stored predictions of one record, whose table is changed."""

    def make(work: Path) -> list[str]:
        import pyarrow.parquet as pq

        from tests.program import test_post

        of = test_post.make_task(_data(), n=120)
        project = test_post.make_project(_project().root.parent, of, {"one": 2.0}, folds=2)
        path = project.predictions_file("made", "one-0")
        changed = change(pq.ParquetFile(path).read())
        if isinstance(changed, bytes):
            path.write_bytes(changed)
        else:
            pq.write_table(changed, path)
        return ["post", "task=made", "mode.report=false"]

    return make


def _logits(values: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    import pyarrow as pa

    def change(table: Any) -> Any:
        given = values(table["logits"].to_pylist())
        column = given if isinstance(given, pa.Array) else pa.array(given, pa.list_(pa.float32()))
        return table.set_column(table.schema.get_field_index("logits"), "logits", column)

    return change


def _as_double(rows: list[Any]) -> Any:
    import pyarrow as pa

    return pa.array(rows, pa.list_(pa.float64()))


def _targets(table: Any) -> Any:
    import pyarrow as pa

    column = pa.array([7] * table.num_rows, pa.int64())
    return table.set_column(table.schema.get_field_index("target"), "target", column)


def _repeated(table: Any) -> Any:
    """One row as often as no file of its size has rows."""
    import pyarrow as pa

    return table.slice(0, 1).take(pa.array([0] * 2_000_000, pa.int32()))


def _linked(work: Path) -> list[str]:
    """Runs that lie elsewhere, with a file that looks like a leftover."""
    outside, project = work.parent / "outside", _project()
    (outside / "day").mkdir()
    (outside / "day" / ".x.tmp-1-00000000").write_text("the user's own")
    os.utime(outside / "day" / ".x.tmp-1-00000000", (0, 0))
    project.root.mkdir(parents=True)
    project.runs_dir().symlink_to(outside)
    return ["clean", "mode.subroutines=[temp]", "mode.force=true", "mode.all=true"]


def _journal(text: str) -> Callable[[Path], list[str]]:
    """A study whose journal is not what Optuna wrote."""

    def make(work: Path) -> list[str]:
        path = _project().studies_dir() / "s.log"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        return ["train", "--dry-run", "use_best_params=s"]

    return make


def _study(params: dict[str, Any]) -> Callable[[Path], list[str]]:
    """A study whose best trial has parameters that no search would have."""

    def make(work: Path) -> list[str]:
        import optuna
        from optuna.distributions import CategoricalDistribution
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = _project().studies_dir() / "s.log"
        path.parent.mkdir(parents=True)
        study = optuna.create_study(
            study_name="s", storage=optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        )
        kinds = {key: CategoricalDistribution([value]) for key, value in params.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=1.0))
        return ["train", "--dry-run", "use_best_params=s"]

    return make


def _database(script: str) -> Callable[[Path], list[str]]:
    """A study in an SQLite file that somebody changed."""

    def make(work: Path) -> list[str]:
        import sqlite3

        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        optuna.create_study(storage=f"sqlite:///{work / 's.db'}", study_name="s")
        file = sqlite3.connect(work / "s.db")
        file.executescript(script)
        file.close()
        return ["train", "--dry-run", "task=digits", "use_best_params='sqlite:///s.db#s'"]

    return make


_ENDLESS = """DROP TABLE trials; CREATE VIEW trials AS WITH RECURSIVE n(trial_id) AS
(SELECT 1 UNION ALL SELECT trial_id + 1 FROM n) SELECT trial_id, trial_id AS number, 1 AS study_id, 'COMPLETE' AS state,
NULL AS datetime_start, NULL AS datetime_complete FROM n"""
_TRIAL = """INSERT INTO trials VALUES (1, 0, 1, 'COMPLETE', NULL, NULL); INSERT INTO trial_values VALUES (1, 1, 0, 0.5, 'FINITE');
INSERT INTO trial_params VALUES (1, 1, 'optimizer.lr', LOW,
'{"name": "KIND", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}')"""


def _blueprint(text: str) -> Callable[[Path], list[str]]:
    def make(work: Path) -> list[str]:
        (work / "b.yaml").write_text(text)
        return ["train", "--dry-run", "mode.use_blueprint=true", "reuse.blueprint=b.yaml"]

    return make


def _search(*arguments: str) -> Callable[[Path], list[str]]:
    return lambda work: [
        "train",
        "--dry-run",
        *(text.replace("OUTSIDE", str(work.parent / "outside")) for text in arguments),
    ]


CASES = [
    Hostile("record: JSON nested without end", _record(lambda stored: _DEEP), "nested too deeply", code=0),
    Hostile("record: 100 MB", _grown_record, "more than the 67,108,864 that are read", code=0),
    Hostile("record: no mapping", _record(lambda stored: "[1, 2]"), "has another format", code=0),
    Hostile("record: a name that climbs out, to be deleted", _climbing(id="../../../../../../outside"), "", code=0),
    Hostile("record: a task that climbs out, to be deleted", _climbing(pivot="../../../outside", task="x"), "", code=0),
    Hostile("record: an absolute name, to be deleted", _climbing(id="/etc"), "", code=0),
    Hostile("record: a name of another record", _record(_set(id="two")), "record.json", code=0),
    Hostile("record: a list in place of scores", _record(_set(scores=[1, 2])), "record.json", code=0),
    Hostile("record: a text in place of a number", _record(_set(number="1")), "record.json", code=0),
    Hostile("record: scores that are texts", _record(_set(scores={"val": {"loss": "x" * 99}})), "record.json", code=0),
    Hostile("record: keys that nobody knows", _record(_set(evil=1)), "cannot be read as a record", code=0),
    Hostile("record: a format from the future", _record(_set(format=10**9)), "format", code=0),
    Hostile(
        "record: other weights than it was written with",
        _record(_set(weights="0" * 32), "train", "--dry-run", *_DIGITS, "reuse.parameters=default#1"),
        "is not the file that the record was written with",
    ),
    Hostile("run: a configuration that trusts os itself", _config(_trusting), "loss._target_: is not allowed here"),
    Hostile(
        "run: a configuration of aliases",
        _config(lambda tree, work: f"{BOMB}\nmode_name: train\n"),
        "it holds more than",
    ),
    Hostile(
        "run: a configuration that makes objects",
        _config(lambda tree, work: "mode_name: !!python/object/apply:os.system [id]"),
        "cannot be read",
    ),
    Hostile(
        "run: a configuration with a text in place of the network", _config(_no_network), "arch: must be a mapping"
    ),
    Hostile(
        "run: a configuration without sections",
        _config(lambda tree, work: "mode_name: train\n"),
        "mode: must be a mapping",
    ),
    Hostile("run: a plan that is a list", _run_file("plan.json", "[]"), "plan.json"),
    Hostile("run: a plan without steps", _run_file("plan.json", '{"format": 1}'), "plan.json"),
    Hostile("run: a plan nested without end", _run_file("plan.json", _DEEP), "plan.json"),
    Hostile(
        "run: a name that climbs out",
        lambda work: [*_config(lambda tree, work: None)(work)[:1], "continue=../../etc"],
        "there is no such run",
    ),
    Hostile("task: JSON nested without end", _task(lambda stored: _DEEP), "nested too deeply"),
    Hostile("task: a name that climbs out", _task(lambda stored: stored.update(name="../../outside/x")), "task.json"),
    Hostile("task: a sample that climbs out", _task(_sample("../../outside/secret.txt")), "task.json"),
    Hostile("task: a sample with an absolute path", _task(_sample("/etc/passwd")), "task.json"),
    Hostile("task: columns of different lengths", _task(_column("target", [0])), "task.json"),
    Hostile("task: a class that is not there", _task(_column("target", [9] * 12)), "task.json"),
    Hostile("task: targets that are texts", _task(_column("target", ["x"] * 12)), "task.json"),
    Hostile("task: parts that nobody knows", _task(_column("part", ["evil"] * 12)), "task.json"),
    Hostile(
        "task: a source that nobody knows", _task(lambda stored: stored.update(source={"type": "shell"})), "task.json"
    ),
    Hostile("task: a billion channels", _task(lambda stored: stored.update(channels=10**9)), "task.json"),
    Hostile("task: a kind that nobody knows", _task(lambda stored: stored.update(kind="evil")), "task.json"),
    Hostile(
        "predictions: no Parquet",
        _predictions(lambda table: b"PAR1 is what this is not"),
        "cannot be read as predictions",
        code=2,
        begun=True,
    ),
    Hostile(
        "predictions: a column is missing",
        _predictions(lambda table: table.drop_columns(["split"])),
        "cannot be read as predictions",
        begun=True,
    ),
    Hostile(
        "predictions: rows of different lengths",
        _predictions(_logits(lambda rows: [rows[0][:1], *rows[1:]])),
        "one-0.parquet",
        begun=True,
    ),
    Hostile("predictions: numbers of another type", _predictions(_logits(_as_double)), "one-0.parquet", begun=True),
    Hostile(
        "predictions: rows without numbers",
        _predictions(_logits(lambda rows: [None, *rows[1:]])),
        "one-0.parquet",
        begun=True,
    ),
    Hostile(
        "predictions: numbers of other classes",
        _predictions(_logits(lambda rows: [[*row, 0.0] for row in rows])),
        "one-0.parquet",
        begun=True,
    ),
    Hostile("predictions: two million rows of one", _predictions(_repeated), "2,000,000 rows in", begun=True),
    Hostile("predictions: a class that is not there", _predictions(_targets), "one-0.parquet", begun=True),
    Hostile("clean: runs that are a link to elsewhere", _linked, "", code=0),
    Hostile(
        "study: a file that is no database",
        _search("use_best_params='sqlite:////OUTSIDE/secret.txt#s'"),
        "hpo.storage: failed",
    ),
    Hostile(
        "study: a database in a folder that is not there",
        lambda work: ["train", "--dry-run", "use_best_params='sqlite:////proc/none/x.db#s'"],
        "hpo.storage: failed",
    ),
    Hostile(
        "study: a driver that is a program",
        lambda work: ["train", "--dry-run", "use_best_params='sqlite+os.system:///x#s'"],
        "hpo.storage: failed",
    ),
    Hostile(
        "study: an address that is none",
        lambda work: ["train", "--dry-run", "use_best_params='://#s'"],
        "hpo.storage: failed",
    ),
    Hostile(
        "study: a name that climbs out",
        lambda work: ["train", "--dry-run", "use_best_params=../../outside/secret"],
        "study",
    ),
    Hostile(
        "study: another project that climbs out",
        lambda work: ["train", "--dry-run", "use_best_params=../../outside:secret"],
        "study",
    ),
    Hostile("study: tables that compute without end", _database(_ENDLESS), "trials is a view or a trigger"),
    Hostile(
        "study: a table that runs statements",
        _database("CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END"),
        "t is a view or a trigger",
    ),
    Hostile(
        "study: a database of another version",
        _database("UPDATE alembic_version SET version_num = 'v99.a'"),
        "is not what a search wrote",
    ),
    Hostile(
        "study: a distribution that is code",
        _database(_TRIAL.replace("LOW", "0.1").replace("KIND", "__import__(os)")),
        "is not what a search wrote",
    ),
    Hostile(
        "study: a parameter without end",
        _database(_TRIAL.replace("LOW", "9e999").replace("KIND", "FloatDistribution")),
        "optimizer.lr: must be a number > 0, got inf",
    ),
    Hostile("study: a journal that is noise", _journal("\x00\xff{{{\n"), "s.log"),
    Hostile("study: a journal nested without end", _journal(f"{_DEEP}\n"), "s.log"),
    Hostile("study: a journal of lists", _journal("[]\n[]\n"), "s.log"),
    Hostile(
        "study: best parameters that trust os",
        _study({"trust": "[os]", "loss._target_": "os.system"}),
        "trust: cannot be searched",
    ),
    Hostile("study: best parameters that write elsewhere", _study({"out_dir": "/etc"}), "out_dir: cannot be searched"),
    Hostile(
        "blueprint: os.system as the network",
        _blueprint("arch:\n  _target_: os.system\n"),
        "arch._target_: is not allowed here",
    ),
    Hostile("blueprint: an object", _blueprint("arch: !!python/object/apply:os.system [id]\n"), "cannot be read"),
    Hostile("blueprint: a bomb of aliases", _blueprint(BOMB), "it holds more than"),
    Hostile(
        "reuse: a project that climbs out",
        lambda work: ["train", "--dry-run", *_DIGITS, "reuse.parameters=../outside#1"],
        "there is no such project",
    ),
]
