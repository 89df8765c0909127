"""Sweeps on Slurm: what a job is given, what becomes of one that is stopped or killed, on a real cluster of one node."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlpipe.cli import main
from mlpipe.config import launcher
from mlpipe.errors import ConfigError
from mlpipe.running import launch
from mlpipe.running.sweeps import cluster
from mlpipe.runs import journal, records
from mlpipe.runs.project import Project

SMALL = [
    "task=digits", "mode.nested=false", "arch=test_resnet", "arch.pretrained=false", "arch.drop_rate=0.2",
    "preprocessing.size=16", "sys.threads=1", "split.folds=3", "split.test_fraction=0.5",
]  # fmt: skip


def has_slurm() -> str:
    """Why there is no Slurm to test with; empty where there is."""
    if importlib.util.find_spec("submitit") is None:
        return "submitit is not installed (the extra `slurm`)"
    if shutil.which("sbatch") is None:
        return "this machine has no Slurm"
    answer = subprocess.run(["timeout", "30", "sinfo", "-h"], capture_output=True, text=True, check=False)
    return "" if answer.returncode == 0 else "no Slurm answers here; set SLURM_CONF"


MISSING = has_slurm()


def test_a_launcher_is_told_from_what_its_jobs_do() -> None:
    given = ["loss=ce,focal", "hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.mem_gb=1.5"]
    found, rest = launcher.split(given)
    assert found is not None and rest == ["loss=ce,focal"]
    assert (found.partition, found.mem_gb, found.timeout_min, found.setup) == ("gpu", 1.5, 60, [])
    assert launcher.split(["loss=ce", "hydra/launcher=basic"]) == (None, ["loss=ce"])


def test_wrong_keys_of_a_launcher_are_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        launcher.split(["hydra/launcher=slurm", "hydra.launcher.partitoin=gpu", "hydra.launcher.timeout_min=0"])
    assert {one.partition(",")[0] for one in caught.value.problems} == {
        "hydra.launcher.partitoin: unknown key; did you mean 'partition'?",
        "hydra.launcher.timeout_min: must be a whole number >= 1",
    }
    with pytest.raises(ConfigError, match="signal_delay_s: is not before the end of the time limit, got 90; make it"):
        launcher.split(["hydra/launcher=slurm", "hydra.launcher.timeout_min=1"])
    with pytest.raises(ConfigError, match="hydra.launcher.partition: belongs to a launcher; add hydra/launcher=slurm"):
        launcher.split(["hydra.launcher.partition=gpu"])
    with pytest.raises(ConfigError, match="hydra/launcher: unknown option, got 'slrum'; did you mean 'slurm'"):
        launcher.split(["hydra/launcher=slrum"])


def test_a_launcher_is_for_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "hydra/launcher=slurm"]) == 2
    assert "hydra/launcher: starts the jobs of a sweep; add -m" in capsys.readouterr().err


def test_without_submitit_the_way_to_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(["train", *SMALL, "hydra/launcher=slurm", "mode.folds=0,1", "-m"]) == 2
    assert "hydra/launcher: the package submitit is not installed; pip install" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_job_gets_the_cores_that_it_uses() -> None:
    slurm, _ = launcher.split(["hydra/launcher=slurm"])
    assert slurm is not None

    def cores(*overrides: str) -> int:
        config = launch.prepare(launch.Command("train", [*SMALL, *overrides])).run_config
        found: int = cluster._parameters(slurm, [config])["cpus_per_task"]
        return found

    assert cores() == 1
    assert cores("sys.threads=3", "sys.num_workers=2") == 5
    assert cores("trainer.devices=2") == 2
    assert cores("sys.fold_workers=4") == 4
    config = launch.prepare(launch.Command("train", SMALL)).run_config
    told = cluster._parameters(slurm, [config])
    assert told["slurm_array_parallelism"] == 256 and "slurm_partition" not in told


def test_a_fold_of_a_sweep_is_a_list_of_one() -> None:
    assert launch.prepare(launch.Command("train", [*SMALL, "mode.folds=2"])).run_config.tree["mode"]["folds"] == [2]


def answering(monkeypatch: pytest.MonkeyPatch, out: str, err: str = "", code: int = 0) -> None:
    answer = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr("mlpipe.running.sweeps.cluster.subprocess.run", lambda *args, **rest: answer)


def test_what_slurm_says(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "7_0|RUNNING\n7_1|PENDING\n")
    assert cluster.states(["7_0", "7_1"]) == {"7_0": "RUNNING", "7_1": "PENDING"}
    answering(monkeypatch, "", "slurm_load_jobs error: Invalid job id specified", 1)
    assert cluster.states(["7_0"]) == {}
    answering(monkeypatch, "", "Unable to contact slurm controller", 1)
    assert cluster.states(["7_0"]) is None
    answering(monkeypatch, "JobId=8 JobState=FAILED Reason=NonZeroExitCode ExitCode=137:0 ")
    assert cluster._slurm_ending("7_0") == "FAILED, SIGKILL"
    answering(monkeypatch, "JobId=8 JobState=TIMEOUT ExitCode=0:15 ")
    assert cluster._slurm_ending("7_0") == "TIMEOUT, SIGTERM"
    answering(monkeypatch, "", "Invalid job id specified", 1)
    assert cluster._slurm_ending("7_0") == ""


@pytest.mark.parametrize(
    ("answers", "code", "again"),
    [
        ([{"12": "RUNNING"}], 75, True),
        ([None, None, {"12": "RUNNING"}], 75, True),
        ([None] * 5, 75, True),
        ([{"7_3": "RUNNING", "7_4": "CANCELLED"}], 75, True),
        ([None, {"12": "COMPLETING"}], 75, False),
        ([{"7_3": "CANCELLED", "7_4": "RUNNING"}], 75, False),
    ],
)
def test_a_stopped_job_is_queued_again_unless_slurm_ends_it(
    answers: list[Any], code: int, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: Slurm does not answer, or the one that asks was ended by the signal too."""
    for key, value in {"JOB_ID": "12", "ARRAY_JOB_ID": "7", "ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    left, queued = iter(answers), list[int]()

    def handler(number: int, frame: object) -> None:
        queued.append(number)
        raise SystemExit

    monkeypatch.setattr(cluster, "states", lambda ids: next(left))
    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: None)
    before = signal.getsignal(signal.SIGUSR2)
    try:
        with pytest.raises(SystemExit) as ended:
            cluster._queue_again(handler, "stopped")
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert ended.value.code == code and bool(queued) == again


def test_a_job_that_slurm_started_again_owns_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    before = {**journal.identity(), "host": "another node"}
    assert journal.is_live(before)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not journal.is_live(before)
    assert journal.is_live({**before, "slurm": ["13", 0]})
    assert journal.is_live({**before, "slurm": ["12", 1]})


def weights(tmp_path: Path, name: str) -> dict[int, Any]:
    found = records.load_all(Project(tmp_path / "results" / name))
    return {record.fold: (record.weights, record.scores, record.recipe) for record in found}


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 900) -> Any:
    """What a condition gives once it gives something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


class Queue:
    """A sweep over folds on the cluster, in a process of its own.

    Args:
        tmp_path: The test's folder.
        folds: As on the command line.
        arguments: Further overrides.
    """

    def __init__(self, tmp_path: Path, folds: str, *arguments: str) -> None:
        given = ["hydra/launcher=slurm", f"hydra.launcher.submitit_folder={tmp_path / 'queue'}", f"mode.folds={folds}"]
        command = [sys.executable, "-m", "mlpipe.cli", "train", *SMALL, *arguments, "proj=slurm", *given, "-m"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=os.environ, text=True, **pipes)
        self.project = Project(tmp_path / "results" / "slurm")

    def with_state(self, fold: int) -> Path:
        """The run of a fold, when it has saved a state."""

        def found() -> Path | None:
            runs = [journal.Run("", path.parents[2]) for path in self.project.runs_dir().rglob("state.json")]
            return {int(run.plan()["steps"][0].split()[-1]): run.folder for run in runs}.get(fold)

        run = wait_for(found, self.process)
        assert isinstance(run, Path)
        return run

    def start_again(self, run: Path) -> None:
        """See that a run was stopped and is queued, which Slurm would start two minutes later, and start it now."""
        name = slurm_id(run)
        wait_for(lambda: "interrupted" in (run / "journal.jsonl").read_text("utf-8"), self.process)
        wait_for(lambda: (cluster.states([name]) or {}).get(name) == "PENDING", self.process)
        # The parent looks every few seconds.
        time.sleep(3 * cluster._ASK)
        subprocess.run(["scontrol", "update", f"JobId={name}", "StartTime=now"], check=True, timeout=60)

    def end(self, code: int) -> str:
        """What the sweep printed, when it ended as expected."""
        shown, errors = self.process.communicate(timeout=900)
        assert self.process.returncode == code, shown + errors
        return shown + errors


def slurm_id(run: Path) -> str:
    """The job that a run is of."""
    (first, *_) = (run / "journal.jsonl").read_text("utf-8").splitlines()
    return str(json.loads(first)["job"])


@pytest.mark.services
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_an_array_of_folds_one_killed_one_stopped_and_queued_again(tmp_path: Path) -> None:
    queue = Queue(tmp_path, "0,1,2", "trainer.max_epochs=6")
    killed = queue.with_state(1)
    os.kill(json.loads((killed / "running.json").read_text("utf-8"))["pid"], signal.SIGKILL)
    stopped = queue.with_state(2)
    # An edit of the configuration after the jobs were queued would be read by a worker that composes: ours has a run.
    subprocess.run(["scancel", "--signal=USR1", slurm_id(stopped)], check=True, timeout=60)
    queue.start_again(stopped)
    shown = queue.end(1)
    assert "job 2 (mode.folds=1, Slurm" in shown
    assert "failed: ended without a result (FAILED, SIGKILL); to go on: mml train continue=" in shown
    assert "was stopped and is queued again" in shown
    assert not [path for path in queue.project.root.rglob("*") if path.suffix in (".pkl", ".pickle", ".sh")]
    assert sorted(weights(tmp_path, "slurm")) == [0, 2]
    assert main(["train", f"continue={killed.parent.name}/{killed.name}", "proj=slurm"]) == 0
    assert main(["train", "mode.subroutines=[train]", *SMALL, "trainer.max_epochs=6", "proj=here"]) == 0
    assert weights(tmp_path, "slurm") == weights(tmp_path, "here")


@pytest.mark.services
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_job_that_slurm_preempts_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """One job is sent SIGTERM while it keeps its place, the other is taken its place by Slurm, as in a preemption."""
    queue = Queue(tmp_path, "0,1", "trainer.max_epochs=20")
    told = queue.with_state(0)
    subprocess.run(["scancel", "--signal=TERM", slurm_id(told)], check=True, timeout=60)
    preempted = queue.with_state(1)
    subprocess.run(["scontrol", "requeue", slurm_id(preempted)], check=True, timeout=60)
    queue.start_again(told)
    queue.start_again(preempted)
    shown = queue.end(0)
    assert shown.count("was stopped and is queued again") == 2
    assert (
        main(["train", "mode.subroutines=[train]", *SMALL, "mode.folds=[0,1]", "trainer.max_epochs=20", "proj=here"])
        == 0
    )
    assert weights(tmp_path, "slurm") == weights(tmp_path, "here")


@pytest.mark.services
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_job_at_its_time_limit_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """Slurm looks at limits twice a minute, so that the signal may come a minute earlier than it is asked for."""
    limit = ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=30"]
    queue = Queue(tmp_path, "0", "trainer.max_epochs=100", *limit)
    run = queue.with_state(0)
    while queue.process.poll() is None:
        if (cluster.states([slurm_id(run)]) or {}).get(slurm_id(run)) == "PENDING":
            subprocess.run(["scontrol", "update", f"JobId={slurm_id(run)}", "StartTime=now"], check=False, timeout=60)
        time.sleep(3 * cluster._ASK)
    queue.end(0)
    assert "interrupted" in (run / "journal.jsonl").read_text("utf-8")
    assert (
        main(["train", "mode.subroutines=[train]", *SMALL, "mode.folds=[0]", "trainer.max_epochs=100", "proj=here"])
        == 0
    )
    assert weights(tmp_path, "slurm") == weights(tmp_path, "here")


@pytest.mark.services
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_what_slurm_refuses_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["hydra/launcher=slurm", "hydra.launcher.partition=nowhere", f"hydra.launcher.submitit_folder={tmp_path}/q"]
    assert main(["train", *SMALL, *wrong, "mode.folds=0,1", "-m"]) == 2
    assert "hydra/launcher: Slurm took no jobs (sbatch: error:" in capsys.readouterr().err
    assert not list((tmp_path / "results").rglob("config.yaml"))
    assert not list((tmp_path / "q").iterdir())
