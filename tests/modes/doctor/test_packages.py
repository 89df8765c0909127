"""Versions, extras and conflicts of installed packages."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mlpipe.errors import install_command
from mlpipe.modes.doctor import packages
from mlpipe.modes.doctor.packages import Declared

TOP = Path(__file__).parents[3]
PIP = "pip install"
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]


def declared(needed: list[str], pins: dict[str, str] | None = None, folder: Path | None = None) -> Declared:
    extras = {"kornia": [Requirement("kornia>=0.8")], "slurm": [Requirement("submitit>=1.5"), Requirement("a")]}
    return Declared("name-of-it", [*map(Requirement, needed)], extras, pins or {}, folder)


def test_what_a_checkout_declares() -> None:
    needs = packages.declared_needs()
    assert needs.folder == TOP and needs.name == PROJECT["name"]
    assert {one.name for one in needs.needed} == {re.split(r"[<>=]", text)[0] for text in PROJECT["dependencies"]}
    assert set(needs.extras) == set(PROJECT["optional-dependencies"])
    assert needs.pins["numpy"] == re.findall(r"(?m)^numpy==(.*)$", (TOP / "requirements/base.txt").read_text())[0]


def test_what_a_wheel_declares(tmp_path: Path) -> None:
    texts = ["numpy>=2.0", "colorama ; sys_platform == 'win32'", "kornia>=0.8 ; extra == 'kornia'"]
    needs = packages.needs_in_metadata("name-of-it", texts)
    assert [one.name for one in needs.needed] == ["numpy", "colorama"] and needs.folder is None
    assert [str(one) for one in needs.extras["kornia"]] == ["kornia>=0.8"]
    # On this system nobody needs colorama.
    found = packages.versions(needs, {"numpy": "2.1"})
    assert [(one.name, one.level) for one in found][1:] == [("numpy", "ok")]


def test_a_file_of_another_project_beside_the_package_declares_nothing(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "another"\ndependencies = ["left-pad"]\n')
    package = tmp_path / "mlpipe"
    if not any(one.value == "mlpipe.cli:main" for one in metadata.entry_points(group="console_scripts", name="mml")):
        with pytest.raises(LookupError):
            packages.declared_needs(package)
    else:
        assert "left-pad" not in {one.name for one in packages.declared_needs(package).needed}


def test_versions() -> None:
    needs = declared(["torch>=2.8", "pandas>=2.2", "h5py>=3", "PyYAML>=6"], {"torch": "2.15.0"}, TOP)
    found = packages.versions(needs, {"torch": "2.14.0", "pandas": "1.5", "pyyaml": "6.0.3"})
    assert [(one.name, one.value, one.level) for one in found[1:]] == [
        ("torch", "2.14.0", "ok"), ("pandas", "1.5", "problem"), ("h5py", None, "problem"), ("PyYAML", "6.0.3", "ok"),
        ("tested versions", ["torch 2.14.0 (2.15.0)"], "note"),
    ]  # fmt: skip
    assert found[2].advice == f"pandas: >=2.2 is needed, got '1.5'; {PIP} 'pandas>=2.2'"
    assert found[3].advice == f"h5py: is not installed; {PIP} 'h5py>=3'"
    assert "make setup" in found[-1].advice


def test_versions_of_this_installation_are_those_that_import() -> None:
    import numpy

    found = {one.name: one.value for one in packages.versions(packages.declared_needs(), packages.installed())}
    assert found["numpy"] == numpy.__version__


def test_pins() -> None:
    assert packages.pins_of("numpy==2.4.6\nPyYAML==6.0.3 ; x\n# a==1\n-r other.txt\nb>=1\n") == {
        "numpy": "2.4.6",
        "pyyaml": "6.0.3",
    }


def test_extras() -> None:
    found = packages.extras(declared([]), {"kornia": "0.9.0", "submitit": "1.5.4"})
    assert [(one.name, one.value) for one in found] == [
        ("kornia", "kornia 0.9.0"),
        ("slurm", f"not installed: {install_command('slurm')}"),
    ]
    assert {one.level for one in found} == {"ok"}


def test_requirements_all_the_way_down(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {"vision": ["frame==2.0"], "frame": ["numbers>=3", "odd ; extra == 'odd'"], "numbers": None}
    monkeypatch.setattr(packages.metadata, "requires", needs.__getitem__)
    assert list(packages.unmet_needs(["vision"], {"vision": "1", "frame": "2.0", "numbers": "3.1"})) == []
    found = list(packages.unmet_needs(["vision"], {"vision": "1", "frame": "2.1", "numbers": "2"}))
    assert found == [
        f"vision needs it: frame: ==2.0 is needed, got '2.1'; {PIP} 'frame==2.0'",
        f"frame needs it: numbers: >=3 is needed, got '2'; {PIP} 'numbers>=3'",
    ]
    assert list(packages.unmet_needs(["absent"], {})) == []


@pytest.mark.parametrize(
    ("torch", "torchvision", "is_wrong"),
    [
        ("2.9.0+cpu", "0.24.0+cu128", True),
        ("2.9.0+cu130", "0.24.0+cu130", False),
        ("2.9.0", "0.24.0+cpu", False),
        ("2.9.0+cpu", None, False),
    ],
)
def test_builds(torch: str, torchvision: str | None, is_wrong: bool) -> None:
    assert [one.level for one in packages.build_findings(torch, torchvision)] == ["problem"] * is_wrong


def test_opencv() -> None:
    assert packages.opencv_findings({"opencv-python-headless": "5"}) == []
    (found,) = packages.opencv_findings({"opencv-python-headless": "5", "opencv-python": "5"})
    assert found.level == "note" and "pip uninstall opencv-python opencv-python-headless" in found.advice


def test_another_package_of_the_name(tmp_path: Path) -> None:
    for name in ("own", "other", "empty"):
        (tmp_path / name / "mlpipe").mkdir(parents=True)
        if name != "empty":
            (tmp_path / name / "mlpipe/__init__.py").touch()
    path = [str(tmp_path / name) for name in ("own", "other", "empty", "none")]
    (found,) = packages.copy_findings(path, tmp_path / "own/mlpipe")
    assert found.level == "note" and found.value == str(tmp_path / "other/mlpipe")
    assert packages.copy_findings(path[:1], tmp_path / "own/mlpipe") == []


@pytest.mark.parametrize(
    ("is_ours", "level", "what"), [(False, "problem", "another program"), (True, "note", "an earlier")]
)
def test_a_distribution_of_the_name(is_ours: bool, level: str, what: str) -> None:
    (found,) = packages.name_findings("name-of-it", "3.1", is_ours=is_ours)
    assert found.level == level and f"the distribution of this name is {what}" in found.advice
    assert found.advice.endswith("pip uninstall mlpipe, then install name-of-it again")


def test_this_installation_has_no_conflict_of_requirements() -> None:
    found = packages.conflicts(packages.declared_needs(), packages.installed())
    assert [one for one in found if one.name == "requirements"] == []
