"""Studies on disk: which there are, where they lie, and that passwords stay out of sight."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from mlpipe import limits
from mlpipe.errors import ProjectError
from mlpipe.runs import studies
from mlpipe.runs.project import Project

LISTS = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": [[1, [2]]]}})


def make(project: Project, name: str, values: list[float], storage: str | None = None, metrics: int = 1) -> None:
    with studies.opened(project, name, storage) as store:
        study = optuna.create_study(storage=store, study_name=name, directions=["minimize"] * metrics)
        for value in values:
            trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 10)})
            study.tell(trial, [value] * metrics)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@host:5/db", "postgresql://me:***@host:5/db"),
        ("mysql+pymysql://me:se@cret@host/db", "mysql+pymysql://me:***@host/db"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("redis://:secret@host:1/0", "redis://:***@host:1/0"),
        ("postgresql://me:a/SECRET#x@host/x", "postgresql://me:***@host/x"),
        ("postgresql://me@corp:a/SECRET@host/x", "postgresql://me@corp:***@host/x"),
        ("mysql://me:a b@SECRET@host/x", "mysql://me:***@host/x"),
        ("sqlite:///studies.db", "sqlite:///studies.db"),
    ],
)
def test_passwords_are_masked(address: str, shown: str) -> None:
    assert studies.masked(address) == shown


def test_a_storage_that_fails_is_one_sentence_without_its_password(tmp_path: Path) -> None:
    with (
        pytest.raises(ProjectError) as caught,
        studies.opened(Project(tmp_path), "s", "postgresql+psycopg://me:secret@127.0.0.1:1/none"),
    ):
        pass
    assert "hpo.storage: failed" in str(caught.value)
    assert "secret" not in str(caught.value) and caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("psycopg", "hpo.storage: the package psycopg is not installed; pip install"),
        (
            "MySQLdb",
            "hpo.storage: needs the module MySQLdb, which is not installed, got 'mysql://host/base'; install MySQLdb",
        ),
    ],
)
def test_a_storage_without_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, sentence: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    address = {"psycopg": "postgresql+psycopg://host/base", "MySQLdb": "mysql://host/base"}[module]
    with pytest.raises(ProjectError) as caught, studies.opened(Project(tmp_path), "s", address):
        pass
    assert str(caught.value).startswith(sentence)


def test_names_and_the_best_trial(tmp_path: Path) -> None:
    project = Project(tmp_path / "results" / "one")
    make(project, "first", [3.0, 1.0, 2.0])
    make(project, "front", [1.0, 1.0], metrics=2)
    assert studies.names(project) == ["first", "front"]
    with studies.loaded(project, "first") as study:
        assert studies.best(study).number == 1
        assert studies.best(study, 2).value == 2.0
        with pytest.raises(ProjectError, match="has no such finished trial, got 9; finished ones: 0, 1, 2"):
            studies.best(study, 9)
    with studies.loaded(Project(tmp_path / "results" / "two"), "one:first") as study:
        assert study.study_name == "first"
    with studies.loaded(project, "front") as study, pytest.raises(ProjectError, match="use_best_params=front#"):
        studies.best(study)
    with (
        pytest.raises(ProjectError, match="has the studies first, front, got 'fist'; did you mean 'first'"),
        studies.loaded(project, "fist"),
    ):
        pass


def test_any_address_of_optuna(tmp_path: Path) -> None:
    project, url = Project(tmp_path / "p"), f"sqlite:///{tmp_path}/studies.db"
    make(project, "a", [1.0], url)
    with studies.loaded(project, url) as study:
        assert study.study_name == "a"
    make(project, "b", [2.0], url)
    with studies.loaded(project, f"{url}#b") as study:
        assert studies.best(study).value == 2.0
    with pytest.raises(ProjectError, match="has the studies a, b"), studies.loaded(project, url):
        pass


def test_a_study_without_a_finished_trial_has_no_best(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    make(project, "empty", [])
    with studies.loaded(project, "empty") as study:
        with pytest.raises(ProjectError, match=r"^study empty: has no finished trial; let it run first$"):
            studies.best(study)
        with pytest.raises(ProjectError, match="has no such finished trial, got 0; finished ones: none$"):
            studies.best(study, 0)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("DROP TABLE trials; CREATE VIEW trials AS WITH RECURSIVE n(trial_id) AS (SELECT 1 UNION ALL SELECT trial_id + 1 FROM n) "
         "SELECT trial_id, trial_id AS number, 1 AS study_id, 'COMPLETE' AS state, NULL AS datetime_start, "
         "NULL AS datetime_complete FROM n", "trials is a view or a trigger"),
        ("CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END", "t is a view or a trigger"),
        ("UPDATE alembic_version SET version_num = 'v99.a'", "no longer compatible"),
        ("UPDATE trial_params SET distribution_json = '{\"name\": \"os.system\", \"attributes\": {}}'", "os.system"),
    ],
)  # fmt: skip
def test_a_database_that_no_search_wrote_is_one_sentence(tmp_path: Path, script: str, reason: str) -> None:
    project, url = Project(tmp_path / "p"), f"sqlite:///{tmp_path / 's.db'}"
    make(project, "s", [1.0], url)
    with closing(sqlite3.connect(tmp_path / "s.db")) as file:
        file.executescript(script)
    for opened in (studies.loaded(project, f"{url}#s"), studies.opened(project, "s", url)):
        with pytest.raises(ProjectError, match="hpo.storage: .* is not what a search wrote") as caught, opened:
            pass
        assert reason in str(caught.value)


@pytest.mark.parametrize(("file", "address"), [("s.db", "file:FOLDER/%2573.db?uri=true"), ("file:s.db", "file:s.db")])
def test_a_database_is_looked_into_however_its_address_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Project(tmp_path / "p"), "s", [1.0], f"sqlite:///{tmp_path / 's.db'}")
    (tmp_path / "s.db").rename(tmp_path / file)
    url = f"sqlite:///{address.replace('FOLDER', str(tmp_path))}"
    with studies.loaded(Project(tmp_path / "p"), f"{url}#s") as study:
        assert study.best_value == 1.0
    with closing(sqlite3.connect(tmp_path / file)) as opened:
        opened.executescript("CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END")
    with (
        pytest.raises(ProjectError, match="t is a view or a trigger"),
        studies.loaded(Project(tmp_path / "p"), f"{url}#s"),
    ):
        pass


def test_a_study_of_more_rows_than_a_search_writes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several studies in a file only what belongs to the one that is asked for counts, and what is read of all of them."""
    project, url = Project(tmp_path / "p"), f"sqlite:///{tmp_path / 's.db'}"
    make(project, "large", [1.0] * 40, url)
    make(project, "small", [2.0], url)
    # A trial is a row, as its value, its parameter and each of its attributes are.
    monkeypatch.setattr(limits, "STUDY_ROWS", 100)
    with studies.loaded(project, f"{url}#small") as study:
        assert study.best_value == 2.0
    for opened in (studies.loaded(project, f"{url}#large"), studies.opened(project, "large", url)):
        with (
            pytest.raises(ProjectError, match=r"hpo.storage: sqlite:.* holds 1\d\d rows of a study, more than the 100"),
            opened,
        ):
            pass


def test_a_study_whose_rows_cannot_be_counted_is_not_read(tmp_path: Path) -> None:
    """A table of so many columns that no sum of them can be asked for, which a search would never read."""
    project, url = Project(tmp_path / "p"), f"sqlite:///{tmp_path / 's.db'}"
    make(project, "s", [1.0], url)
    with closing(sqlite3.connect(tmp_path / "s.db")) as file:
        file.executescript(f"CREATE TABLE wide ({', '.join(f'c{place}' for place in range(1200))})")
    with pytest.raises(ProjectError, match="is not what a search wrote .*Expression tree is too large"):
        studies.loaded(project, f"{url}#s").__enter__()


def test_a_study_with_a_text_that_no_search_writes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, url = Project(tmp_path / "p"), f"sqlite:///{tmp_path / 's.db'}"
    make(project, "s", [1.0], url)
    with closing(sqlite3.connect(tmp_path / "s.db")) as file:
        file.executescript("INSERT INTO trial_user_attributes VALUES (9, 1, 'k', printf('\"%.*c\"', 300000, 'x'))")
    with studies.loaded(project, f"{url}#s") as study:
        assert len(study.trials[0].user_attrs["k"]) == 300_000
    monkeypatch.setattr(limits, "STUDY", 100_000)
    with pytest.raises(ProjectError, match="holds a text of more than 100,000 bytes"):
        studies.loaded(project, f"{url}#s").__enter__()
    monkeypatch.setattr(limits, "STUDY", 1 << 20)
    monkeypatch.setattr(limits, "STUDY_VALUES", 3)
    with pytest.raises(ProjectError, match=r"holds \d+ values of a study, more than the 3 that"):
        studies.loaded(project, f"{url}#s").__enter__()


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        ({"STUDY_ROWS": 5}, r"s\.log holds \d+ rows of a study, more than the 5 that are read"),
        ({"STUDY": 100}, r"s\.log holds [\d,]+ bytes of a study, more than the 100 that are read"),
        ({"STUDY_VALUES": 20}, r"s\.log holds \d+ values of a study, more than the 20 that are read"),
    ],
)
def test_a_journal_of_more_than_a_search_writes_is_not_read(
    limit: dict[str, int], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path / "p")
    make(project, "s", [1.0, 2.0])
    for name, value in limit.items():
        monkeypatch.setattr(limits, name, value)
    for opened in (studies.loaded(project, "s"), studies.opened(project, "s", None)):
        with pytest.raises(ProjectError, match=sentence), opened:
            pass


def test_a_storage_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(ProjectError, match="hpo.storage: cannot be read .it is no ordinary file., got"),
        studies.opened(Project(tmp_path / "p"), "s", str(tmp_path / "pipe")),
    ):
        pass


@pytest.mark.parametrize("kind", ["a link that leads nowhere", "a link to the journal", "a file", "a folder"])
def test_a_lock_that_was_left_is_taken_away(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "_LOCKED", 0.1)
    project = Project(tmp_path / "p")
    make(project, "s", [1.0])
    lock = studies.journal_file(project, "s").with_suffix(".log.lock")
    if kind == "a folder":
        lock.mkdir()
    elif kind == "a file":
        lock.touch()
    else:
        lock.symlink_to(
            studies.journal_file(project, "s") if kind.endswith("journal") else tmp_path / "elsewhere" / "s.log"
        )
    with studies.opened(project, "s", None) as store:
        study = optuna.load_study(study_name="s", storage=store)
        study.tell(study.ask(), 2.0)
    assert not lock.exists() and not lock.is_symlink()
    with studies.loaded(project, "s") as study:
        assert [trial.value for trial in study.trials] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("noted", "metrics"), [(["a"], ["a"]), (["a", "b"], ["value 0"]), (7, ["value 0"]), (None, ["value 0"])]
)
def test_metrics_that_are_not_the_directions_are_numbered(tmp_path: Path, noted: object, metrics: list[str]) -> None:
    project = Project(tmp_path / "p")
    make(project, "s", [1.0])
    with studies.loaded(project, "s") as study:
        study.set_user_attr(studies.METRICS, noted)
        assert studies.metrics_of(study) == metrics


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        ({"values": []}, r"trial 0 has ended, and its values are \[\]"),
        ({}, "trial 0 has ended, and its values are None"),
        ({"values": ["x"]}, r"trial 0 has ended, and its values are \['x'\]"),
        ({"values": [1.0, 2.0]}, r"trial 0 has ended, and its values are \[1.0, 2.0\]"),
        ({"values": [1.0], "user_attrs": 7}, "trial 0 has notes that are 7"),
        ({"values": [1.0], "params": {"a": 0}, "distributions": {"a": LISTS}}, r"has the parameter a \[1, \[2\]\]"),
    ],
)
def test_a_trial_of_what_no_search_writes_is_not_read(tmp_path: Path, trial: dict[str, object], reason: str) -> None:
    project = Project(tmp_path / "p")
    journal = studies.journal_file(project, "s")
    journal.parent.mkdir(parents=True)
    study = {"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [1]}
    begun = {"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": None, "state": 1}
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in (study, {**begun, **trial})))
    with pytest.raises(ProjectError, match=reason), studies.loaded(project, "s"):
        pass


def test_a_journal_that_takes_hours_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path / "p")
    make(project, "s", [1.0, 2.0])
    monkeypatch.setattr(studies, "_FEW_LINES", 2)
    monkeypatch.setattr(limits, "STUDY_STEPS", 5)
    wrong = r"s\.log holds lines that take more than 5 steps to read; move it away"
    with pytest.raises(ProjectError, match=wrong), studies.loaded(project, "s"):
        pass
    monkeypatch.setattr(limits, "STUDY_STEPS", 1000)
    with studies.loaded(project, "s") as study:
        assert len(study.trials) == 2


def test_a_front_is_made_of_so_many_trials_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(study_name="s", directions=["maximize"] * 3)
    for number in range(4):
        study.add_trial(optuna.trial.create_trial(values=[number, -number, 1]))
    assert [trial.number for trial in studies.front(study)] == [0, 1, 2, 3]
    monkeypatch.setattr(limits, "STUDY_FRONT", 3)
    assert studies.front(study) == []
    # All of them are no front.
    with pytest.raises(
        ProjectError, match=r"a front \(of its 4 trials, too many to compare\); choose one, such as use_best"
    ):
        studies.best(study)
