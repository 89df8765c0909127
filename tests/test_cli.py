"""The command line: exit codes, sentences, and what is imported for an answer."""

from __future__ import annotations

import errno
import importlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from mlpipe import __version__, cli
from mlpipe.cli import main
from mlpipe.errors import ConfigError, Interrupted

HEAVY = ("torch", "timm", "pytorch_lightning", "pandas", "albumentations")


# Nothing of these is in NumPy's way, and no command that only looks at data or at what is written needs them.
LIBRARIES = ("scipy", "pyarrow", "h5py", "cv2", "optuna", "sklearn", "matplotlib", "rich")


def imported_by(*arguments: str) -> set[str]:
    """The modules that a command imports, once its options have been composed, as for everybody who calls it twice."""
    code = f"import sys; from mlpipe.cli import main; main({list(arguments)!r}); print(*sys.modules, file=sys.stderr)"
    keeping = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=keeping)
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["train", "--help"]])
def test_version_and_help_import_nothing_heavy(arguments: list[str]) -> None:
    """F21: --version took 32 s, and needed a file of settings."""
    assert not imported_by(*arguments) & {*HEAVY, "numpy", "hydra", "omegaconf"}


@pytest.mark.parametrize("arguments", [("optimizer=adamww",), ("optimizer.lr=abc", "arch=resnet5O")])
def test_a_refused_config_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not imported_by("train", *arguments) & {*HEAVY, *LIBRARIES, "numpy", "PIL"}


def test_a_command_whose_options_were_composed_needs_no_hydra() -> None:
    for arguments in (["train", "task=digits", "optimizer.lr=-1"], ["info", "task=digits"]):
        imported_by(*arguments)
        assert not imported_by(*arguments) & {"hydra", "omegaconf", "antlr4"}, arguments


def test_info_imports_no_library_that_it_does_not_use() -> None:
    assert not imported_by("info", "task=digits") & {*HEAVY, *LIBRARIES}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mlpipe {__version__}\n"


def test_help_names_every_mode_and_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("create", "pp", "train", "predict", "test", "info", "lr_scheduler", "focal"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trian"], "mode: unknown mode, got 'trian'; did you mean 'train'?"),
        (["train", "--jsn"], "--jsn: unknown option; did you mean '--json'?"),
        (["train", "oops"], "oops: is not an override; write key=value"),
        (["train", "optimizer.lr=[1"], "optimizer.lr: its value cannot be read"),
        (["train", "task=folder", "task.root=nowhere"], "task.root: there is no such folder"),
        (["train", "continue=latest"], "continue: project default has no runs, got 'latest'; start one"),
        (["train", "--config-dir", "nowhere"], "--config-dir: there is no such folder"),
        (["info", "task_list=[nope]"], "task: there is no such task, got 'nope'"),
        (
            ["train", "metrics.monitor=val/acuracy"],
            "metrics.monitor: no metric of classification tasks, got 'val/acuracy'",
        ),
        (["train", "mode.folds=[0,9]"], "mode.folds: there is no such fold, got 9; the folds are 0, 1, 2, 3, 4"),
        (["train", "split=holdout", "mode.nested=true"], "mode.nested: the split has 1 validation part"),
        (["train", "arch.weights=nope.pt"], "arch.weights: there is no such file"),
        (["train", "arch.pretrained=lite9"], "arch.pretrained: unknown local extra"),
        (["train", "--cfg"], "--cfg: needs a value; write --cfg job"),
        (["train", "--cfg", "--json"], "--cfg: needs a value; write --cfg job"),
        (["train", "-c"], "-c: needs a value; write --cfg job"),
        (["train", "--config-dir"], "--config-dir: needs a value; write --config-dir DIR"),
        (["train", "--config"], "--config: needs a value; write --config=FILE"),
        (["train", "--app"], "--app: needs a value; write --app=pde"),
        (["fit", "--name"], "--name: needs a value; write --name VALUE"),
        (["fit", "--name", "--allow_resume", "True"], "--name: needs a value; write --name VALUE"),
        (["train", "--package"], "--package: unknown option"),
        (["train", "--resolve"], "--resolve: unknown option"),
        (["info", "proj=nope"], "proj: there is no project nope in"),
        (["info", "proj=nope", "task=digits"], "train something first: mml train proj=nope"),
        (["post", "proj=x"], "proj: there is no project x in"),
        (["test", "proj=x"], "proj: there is no project x in"),
        (["verify", "proj=x"], "proj: there is no project x in"),
        (["clean", "proj=x", "mode.all=true"], "proj: there is no project x in"),
        (["evaluate", "proj=x"], "proj: there is no project x in"),
        (["upgrade", "proj=x", "mode.version=0.1.0"], "proj: there is no project x in"),
        (["downgrade", "proj=x", "mode.version=0.1.0"], "proj: there is no project x in"),
        (["predict"], "task fashion_mini: project default has no trained record of it"),
    ],
)
def test_refused_with_one_sentence_and_nothing_written(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert sentence in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "results").exists()


def test_looking_at_a_task_makes_no_project(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = ["info", "task=digits", "mode.subroutines=[tasks,hpo,samples,models,more_data,report]"]
    assert main(asked) == 0
    told = capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    plots = tmp_path / "data" / "digits" / "plots"
    assert sorted(path.name for path in plots.iterdir()) == ["samples_digits.png", "task_digits.png", "tasks.png"]
    assert f"look at: {plots / 'tasks.png'}" in told and "so that there is nothing to report" in told
    # Beside a project they lie in it.
    (tmp_path / "results" / "default" / "runs").mkdir(parents=True)
    assert main(["info", "task=digits"]) == 0
    assert (tmp_path / "results" / "default" / "reports" / "plots" / "tasks.png").is_file()


@pytest.mark.parametrize("mode", ["post", "info", "predict", "test"])
def test_a_project_that_is_not_there_has_a_near_name_and_nothing_is_made(
    mode: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("clinic", "deadline"):
        (tmp_path / "results" / name / "runs").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert main([mode, "proj=dedline"]) == 2
    assert "did you mean 'deadline'? there are clinic, deadline" in capsys.readouterr().err
    assert main([mode]) == 2
    assert "there is no project default in" in capsys.readouterr().err
    if mode != "info":
        assert main([mode, "proj=clinic"]) == 2
        assert "project clinic has no trained record of it" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_post_before_any_training_names_the_command_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["post"]) == 2
    assert "has no trained record of it; mml train task=fashion_mini" in capsys.readouterr().err


def test_a_results_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").write_text("a file in its place")
    assert main(["train"]) == 2
    assert "out_dir: cannot be written" in capsys.readouterr().err


def test_cfg_job_shows_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "loss=focal", "--cfg", "job"]) == 0
    assert "mlpipe.learn.losses.focal.focal" in capsys.readouterr().out


def test_dry_run_prints_the_plan_and_makes_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "mode.subroutines=[train,test]", "mode.folds=[1]", "--dry-run", "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert steps[-3:] == ["train fold 1", "test fold 1", "leaderboard"]
    assert not (tmp_path / "results").exists()


def test_a_sweep_is_checked_before_its_first_job(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "arch=resnet18,resnet1O", "-m"]) == 2
    assert "got 'resnet1O'" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_own_code_that_fails_in_a_training_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The place is the user's, also where a library raises; an error of the program is still its own."""
    (tmp_path / "late_own_code.py").write_text("import json\n\n\ndef hook(text):\n    return json.loads(text)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = importlib.import_module("late_own_code")
    monkeypatch.setattr(cli, "_run", lambda call: own.hook("{"))
    assert main(["train"]) == 1
    line = capsys.readouterr().err
    assert line.startswith("your own code: hook (late_own_code.py, line 5) fails (JSONDecodeError: ")
    assert "unexpected" not in line
    monkeypatch.setattr(cli, "_run", lambda call: {}["ours"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["train"]) == 1
    assert capsys.readouterr().err.startswith("unexpected KeyError: 'ours'")


def test_continue_needs_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "continue="]) == 2
    assert capsys.readouterr().err == "continue: needs a run; write continue=latest, or continue=RUN\n"


@pytest.mark.parametrize("of_process", [True, False])
def test_another_ctrl_c_while_python_ends_shows_no_traceback(of_process: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler of Python raises wherever it is, such as in what libraries do at the end of a process."""

    def stopped(*_: object) -> int:
        raise Interrupted("stopped; to go on: mml train continue=RUN")

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(cli, "_run", stopped)
    monkeypatch.setattr(sys, "argv", ["mml", "info"])
    try:
        assert main(None if of_process else ["info"]) == Interrupted("").exit_code
        assert signal.getsignal(signal.SIGINT) == (signal.SIG_DFL if of_process else before)
    finally:
        signal.signal(signal.SIGINT, before)


def test_libraries_of_images_write_no_lines_of_their_own() -> None:
    """Pillow tells of a TIFF's faults through its logger, whose lines Python writes where nobody asked for them."""
    code = "import logging; from mlpipe import cli; cli._set_up_logging(False); "
    code += "logging.getLogger('PIL.TiffImagePlugin').error('a line of its own')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout == ""


def test_a_current_folder_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    code = "import os; os.mkdir('d'); os.chdir('d'); os.rmdir('../d'); from mlpipe import cli; "
    code += "raise SystemExit(cli.main(['train', 'task=digits']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    wrong = "the current folder: cannot be used (No such file or directory); go into one that is there"
    assert (done.returncode, done.stdout, done.stderr.strip()) == (2, "", wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are UTF-8 elsewhere")
def test_a_current_folder_whose_name_is_not_utf_8_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["train", "task=digits"]) == 2
    assert capsys.readouterr().err.startswith("the current folder: is not UTF-8, as names in stored files are, got '")


class Full(io.StringIO):
    """A stream on a full disk, which holds what is written until it is flushed."""

    def __init__(self, number: int, *, held: bool) -> None:
        super().__init__()
        self.number, self.held = number, held

    def write(self, text: str) -> int:
        return super().write(text) if self.held else self._refuse()

    def flush(self) -> None:
        if self.getvalue():
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise OSError(self.number, os.strerror(self.number))


def logged(*_: object) -> int:
    """A command that did its work, of which it tells in lines of the log and a document."""
    cli._set_up_logging(False)
    logging.getLogger("mlpipe").info("done")
    return 0


def printed(*_: object) -> int:
    print("done")
    return 0


@pytest.mark.parametrize("command", [logged, printed])
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(
    ("number", "code", "sentence"),
    [
        (errno.ENOSPC, 75, "the disk is full"),
        (errno.EDQUOT, 75, "the disk quota is used up"),
        (errno.EIO, 1, "Input/output error"),
    ],
)
def test_output_that_cannot_be_written_changes_the_exit_code_of_a_command_that_did_its_work(
    command: Callable[..., int],
    held: bool,
    number: int,
    code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Python ignored the error, so that a table was empty and the exit code 0, or ended with 120 and a traceback."""
    monkeypatch.setattr(cli, "_run", command)
    monkeypatch.setattr(sys, "stdout", Full(number, held=held))
    assert main(["info"]) == code
    assert sentence in capsys.readouterr().err


def failed(*_: object) -> int:
    raise ConfigError("seed: is wrong")


def unexpected(*_: object) -> int:
    raise RuntimeError("x")


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(("command", "code"), [(printed, 0), (logged, 0), (failed, 2), (unexpected, 1)])
def test_a_full_standard_error_leaves_the_exit_code_as_it_is(
    command: Callable[..., int], code: int, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_run", command)
    monkeypatch.setattr(sys, "stderr", Full(errno.ENOSPC, held=held))
    assert main(["info"]) == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
@pytest.mark.parametrize(
    ("words", "redirected", "code"),
    [
        ("--version", ">/dev/full", 75),
        ("help", ">/dev/full", 75),
        ("help nonsense-of-a-test", "2>/dev/full", 2),
        ("trian", "2>/dev/full", 2),
        ("help", ">&-", 0),
        ("help", "2>&-", 0),
    ],
)
def test_streams_of_a_process_that_are_full_or_closed(words: str, redirected: str, code: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = f"{sys.executable} -c 'import sys; from mlpipe.cli import main; sys.exit(main())' {words} {redirected}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == code and "Exception ignored" not in done.stderr + done.stdout


def test_a_name_that_is_too_long_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "task=folder", f"task.root={'x' * 300}"]) == 2
    assert "the name of a file: is longer than the system lets one be, got '" in capsys.readouterr().err


def test_a_file_in_the_place_of_a_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "digits").touch()
    assert main(["pp", "task=digits", f"data_dir={tmp_path}"]) == 2
    assert "the name of a file: needs a folder where there is a file, got '" in capsys.readouterr().err


def test_a_broken_pipe_is_a_failure_unless_it_is_that_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A child process that has died breaks a pipe too, and the command ended with 0 and without a word."""

    def broken(call: object) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_run", broken)
    assert main(["info"]) == 1
    assert capsys.readouterr().err.startswith("unexpected BrokenPipeError")
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["info"]) == 1
        os.close(reader)
        assert main(["info"]) == 0
