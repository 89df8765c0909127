"""Loggers from the command line: what is refused before any data is read, and a server of MLflow's on this machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlpipe.cli import main
from mlpipe.runs.trackers import tracker
from tests.build import DIGITS

QUICK = [*DIGITS, "mode.cv=false", "mode.nested=false", "mode.subroutines=[train]"]
PASSWORD = "s3cret-pw"


@pytest.fixture(autouse=True)
def nothing_failed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What one test's server did is no matter of another's."""
    tracker._GONE.clear()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    tracker._GONE.clear()


@pytest.mark.parametrize("package", ["mlflow", "wandb", "tensorboard"])
def test_a_missing_package_is_told_before_anything_is_made(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else there(name, *rest)
    )
    assert main(["train", *QUICK, f"logging=[csv,{package}]"]) == 2
    assert f"logging={package}: the package {package} is not installed; pip install" in "".join(capsys.readouterr())
    assert not (tmp_path / "results").exists() and not (tmp_path / "data").exists()


def test_wrong_words_are_told_with_what_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: str) -> str:
        assert main(["train", *QUICK, *words]) == 2
        found = "".join(capsys.readouterr())
        assert PASSWORD not in found
        return found

    assert "logging.tracking_uri: is no address, got 'runs'" in told("logging=mlflow", "logging.tracking_uri=runs")
    address = f"logging.tracking_uri=postgresql://me:{PASSWORD}@host/db"
    assert "would be stored with its password" in told("logging=mlflow", address)
    assert "unknown key" in told("logging=[csv,mlflow]", "logging.projekt=3")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("defaults:\n- logging: mlflow\nlogging:\n  tracking_uri: http://somewhere:5000\n")
    assert "is named by a file and not by this command" in told(f"recipe={recipe}")
    assert not (tmp_path / "results").exists()


def test_a_server_that_is_gone_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://me:{PASSWORD}@127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        assert main(["train", *QUICK, "logging=mlflow", f"logging.tracking_uri={address}"]) == 0
    told = [one for one in "".join(capsys.readouterr()).splitlines() if "without it" in one or "was not written" in one]
    assert len(told) == 1 and told[0].startswith("logging=mlflow: failed (") and time.monotonic() - started < 120
    stored = [file for file in tmp_path.rglob("*") if file.is_file() and PASSWORD.encode() in file.read_bytes()]
    assert not stored and os.environ["MLFLOW_TRACKING_PASSWORD"] == PASSWORD


def server_command() -> list[str] | None:
    """The program that serves: the whole package's, or the one that MLFLOW_SERVER names."""
    whole = {one.metadata["Name"] for one in importlib.metadata.distributions()}
    if named := os.environ.get("MLFLOW_SERVER"):
        return [named]
    return [sys.executable, "-m", "mlflow"] if "mlflow" in whole else None


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of MLflow's with a file of its own."""
    command = server_command()
    if command is None:
        pytest.skip("no mlflow server is installed: pip install mlflow, or name one by MLFLOW_SERVER")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place, options = tmp_path / "server", ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    place.mkdir()
    stores = ["--backend-store-uri", f"sqlite:///{place}/runs.db", "--artifacts-destination", str(place / "files")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "server", *options, *stores], cwd=place, start_new_session=True, **quiet)
    try:
        latest = time.monotonic() + 180
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > latest:
                pytest.skip("the mlflow server that is installed does not start")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        # It has processes of its own, which outlive it.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.mark.services
def test_folds_side_by_side_are_children_of_one_run_on_a_server(server: str, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    words = [*DIGITS, "mode.nested=false", "sys.fold_workers=2", "logging=mlflow", f"logging.tracking_uri={server}"]
    assert main(["train", *words]) == 0
    client = MlflowClient(server)
    (experiment,) = [one for one in client.search_experiments() if one.name == "default"]
    runs = client.search_runs([experiment.experiment_id])
    (whole,) = [one for one in runs if one.data.tags["mml.record"] == "all"]
    assert len(runs) == 3 and {one.info.status for one in runs} == {"FINISHED"}
    children = [one for one in runs if one.data.tags.get("mlflow.parentRunId") == whole.info.run_id]
    assert len(children) == 2 and all(one.data.metrics["val/loss"] > 0 for one in children)
    kept = {one.path for one in client.list_artifacts(whole.info.run_id)}
    assert kept == {"config.yaml", "model_card.md", "report.html"}
