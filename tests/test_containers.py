"""Containers hold what is there, install as the page on installing says, and run as nobody special."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs import test_installing_page as installing

TOP = Path(__file__).parents[1]
DOCKER = (TOP / "containers" / "Dockerfile").read_text("utf-8")
APPTAINER = (TOP / "containers" / "mlpipe.def").read_text("utf-8")
LEFT_OUT = (TOP / "containers" / "Dockerfile.dockerignore").read_text("utf-8").splitlines()


def instructions(text: str) -> list[tuple[str, str]]:
    """Words and their arguments, in order."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def section(name: str) -> list[list[str]]:
    """Lines of a section of the Apptainer definition, as words."""
    found = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", APPTAINER, re.MULTILINE | re.DOTALL)
    assert found is not None
    return [shlex.split(line) for line in found[1].splitlines() if line.strip()]


def copied() -> dict[str, set[str]]:
    """What each of the two takes of the checkout."""
    of_docker = [rest.split()[:-1] for word, rest in instructions(DOCKER) if word == "COPY" and "--from" not in rest]
    return {
        "docker": {one for names in of_docker for one in names},
        "apptainer": {words[0] for words in section("files")},
    }


def test_what_is_copied_is_there_and_is_all_that_a_wheel_is_made_of() -> None:
    both = copied()
    assert both["docker"] == both["apptainer"]
    assert all((TOP / one).exists() for one in both["docker"])
    assert {"pyproject.toml", "README.md", "LICENSE", "mlpipe", "conf", "docs"} <= both["docker"]
    # Only that gets into the image: no results, data or tokens of the folder.
    assert {line.removeprefix("!") for line in LEFT_OUT if line.startswith("!")} == both["docker"]
    assert [line for line in LEFT_OUT if not line.startswith(("#", "!"))] == ["*", "**/__pycache__"]


@pytest.mark.parametrize("text", [DOCKER, APPTAINER], ids=["docker", "apptainer"])
def test_they_install_alike_and_as_the_page_says(text: str) -> None:
    assert installing.problems(text) == []
    lines = re.findall(r"pip install (.*)$", text, re.MULTILINE)
    assert len(lines) == 3 and "-r" in lines[1] and "base.txt" in lines[1]
    assert "'.[serve,export]'" in lines[2] and all("--torch-backend=" in line for line in lines[1:])
    version = re.search(r"python:(3\.\d+)-slim", text)
    assert version is not None
    assert version[1] in re.findall(r":: (3\.\d+)", " ".join(installing.PROJECT["classifiers"]))


def test_the_image_runs_the_command_as_a_user_without_rights() -> None:
    last = instructions(DOCKER[DOCKER.rindex("\nFROM") :])
    words = dict(last)
    assert words["ENTRYPOINT"] == '["mml"]' and words["WORKDIR"] == "/work" and words["STOPSIGNAL"] == "SIGTERM"
    assert int(words["USER"]) > 0
    after = [word for word, _ in last][[word for word, _ in last].index("USER") :]
    assert "RUN" not in after and "COPY" not in after
    assert f"useradd --uid {words['USER']} " in words["RUN"]
    # A secret is given when it runs, never kept in a layer.
    assert not re.search("token|password|secret", DOCKER, re.IGNORECASE)
    assert section("runscript") == [["exec", "mml", "$@"]]


def test_the_port_is_that_of_the_server() -> None:
    (port,) = re.findall(r"^port: (\d+)$", (TOP / "conf" / "mode" / "serve.yaml").read_text("utf-8"), re.MULTILINE)
    assert dict(instructions(DOCKER))["EXPOSE"] == port


def runs(*command: str) -> bool:
    return (
        shutil.which(command[0]) is not None
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.skipif(not runs("docker", "info"), reason="no Docker with a server")
def test_the_image_is_built_and_answers() -> None:
    build = ["docker", "build", "-q", "-f", "containers/Dockerfile", "-t", "mlpipe-test", "."]
    subprocess.run(build, cwd=TOP, check=True, timeout=3000)
    done = subprocess.run(
        ["docker", "run", "--rm", "mlpipe-test", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("mlpipe ")


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.skipif(not runs("apptainer", "--version"), reason="no Apptainer")
def test_the_definition_is_built_and_answers(tmp_path: Path) -> None:
    image = tmp_path / "mlpipe.sif"
    subprocess.run(["apptainer", "build", image, "containers/mlpipe.def"], cwd=TOP, check=True, timeout=3000)
    done = subprocess.run(["apptainer", "run", image, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("mlpipe ")
