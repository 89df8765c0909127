"""Installed packages with the entry point are found without an import; the current folder installs nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlpipe import plugins
from mlpipe.config import components
from mlpipe.plugins import Plugin

LOSS = "# Cubes, for tests: mml train loss=cubed\n_target_: mlpipe_cubes.parts.cubed\nscale: 1.0\n"
PARTS = """
from typing import Annotated
def cubed(outputs, targets, *, scale: Annotated[float, "> 0"] = 1.0):
    return scale * (outputs.abs() ** 3).mean()
"""


def installed_in(folder: Path, entry: str = "cubes = mlpipe_cubes", name: str = "mlpipe_cubes") -> Path:
    """A folder of installed packages with a plugin, as an installer leaves it."""
    package, info = folder / name, folder / f"{name}-1.2.dist-info"
    (package / "conf" / "loss").mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "parts.py").write_text(PARTS)
    (package / "conf" / "loss" / "cubed.yaml").write_text(LOSS)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[mlpipe.plugins]\n{entry}\n")
    return folder


def forgotten(package: str) -> None:
    """Takes a package and its modules out of those that are imported: another test's folder of that name is another."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forgotten("mlpipe_cubes")
    site = installed_in(tmp_path / "site")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    # The packages lie outside of the folder that the user works in.
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return site


def test_a_plugin_is_found_and_nothing_is_imported(site: Path) -> None:
    (plugin,) = plugins.installed()
    folder = site / "mlpipe_cubes"
    assert plugin == Plugin("cubes", "mlpipe_cubes", "mlpipe-cubes 1.2", folder)
    assert plugin.conf == folder / "conf" and plugin.options == [("loss", "cubed")]
    assert plugins.folders([Path("more")]) == (folder / "conf", Path("more"))
    assert "mlpipe_cubes" not in sys.modules


def test_a_plugin_in_an_egg_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten("mlpipe_cubes")
    egg = installed_in(tmp_path / "mlpipe_cubes-1.2-py3.11.egg")
    info = (egg / "mlpipe_cubes-1.2.dist-info").rename(egg / "EGG-INFO")
    (info / "METADATA").rename(info / "PKG-INFO")
    monkeypatch.setattr(sys, "path", [*sys.path, str(egg)])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert plugins.installed() == (Plugin("cubes", "mlpipe_cubes", "mlpipe-cubes 1.2", egg / "mlpipe_cubes"),)


def test_modules_of_a_plugin_may_be_named(site: Path) -> None:
    assert plugins.owns("mlpipe_cubes.parts") and not plugins.owns("mlpipe_cubes_other.parts")
    assert not plugins.owns("mlpipe_cubes.nothing") and not plugins.owns("os")
    found, wrong = components.check("loss", "loss", {"_target_": "mlpipe_cubes.parts.cubed", "scale": 2.0})
    assert found is not None and found.is_users and wrong == []
    # Its signature is the schema, as everywhere.
    assert (
        "scale: must be a number > 0"
        in components.check("loss", "loss", {"_target_": "mlpipe_cubes.parts.cubed", "scale": -1.0})[1][0]
    )


def test_what_is_not_a_plugin_s_is_refused_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(installed_in(tmp_path / "s", entry="cubes = another_package"))])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (plugin,) = plugins.installed()
    assert plugin.folder is None and plugin.options == [] and plugins.folders() == ()
    _, wrong = components.check("loss", "loss", {"_target_": "mlpipe_cubes.parts.cubed"})
    assert "is not allowed here" in wrong[0]


def test_the_current_folder_installs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = installed_in(tmp_path / "unpacked")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", ["", str(here), *sys.path])
    assert plugins.installed() == ()


def test_a_module_of_another_folder_is_not_a_plugin_s(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = tmp_path / "shadow" / "mlpipe_cubes"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("")
    (shadow / "parts.py").write_text(PARTS)
    (plugin,) = plugins.installed()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "shadow"), *sys.path])
    # The package that would be imported is the other one: its folder is the plugin's then.
    (other,) = plugins.installed()
    assert other.folder == shadow and plugin.folder == site / "mlpipe_cubes"
