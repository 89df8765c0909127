"""What a plugin's author is told: all that is wrong with its files and with what they name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlpipe import testing
from tests.test_plugins import forgotten, installed_in


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a plugin that is right."""
    site = installed_in(tmp_path / "site")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    forgotten("mlpipe_cubes")
    (site / "mlpipe_cubes" / "__init__.py").write_text("")
    yield site / "mlpipe_cubes"
    forgotten("mlpipe_cubes")


def option(package: Path, group: str, name: str, text: str) -> None:
    (package / "conf" / group).mkdir(exist_ok=True, parents=True)
    (package / "conf" / group / f"{name}.yaml").write_text(text)


def test_a_plugin_that_is_right_passes(package: Path) -> None:
    option(package, "task", "few", "# Few digits: mml train task=few\ntask:\n  _target_: mlpipe.data.sources.digits\n")
    testing.check_plugin("cubes")


TARGET = "_target_: mlpipe_cubes.parts."
WRONG = [
    ("loss", "ce", f"# Cubes.\n{TARGET}cubed\n", "loss=ce: is an option of mlpipe; rename the file"),
    ("loss", "quiet", f"{TARGET}cubed\n", "loss=quiet: does not say what it is for; begin the file with a comment line"),
    ("loss", "odd", f"# Odd.\n{TARGET}cubed\nscal: 3\n", "loss=odd.scal: unknown key; did you mean 'scale'?"),
    ("loss", "low", f"# Low.\n{TARGET}cubed\nscale: -1\n", "loss=low.scale: must be a number > 0, got -1"),
    ("loss", "gone", f"# Gone.\n{TARGET}cubic\n", "there is no such function or class, got 'mlpipe_cubes.parts.cubic'"),
    ("loss", "sys", "# System.\n_target_: os.path.join\n", "is not allowed here, got 'os.path.join'"),
    ("loss", "nan", f"# NaN.\n{TARGET}no_number\n", "loss=nan: gives no finite number for classification"),
    ("loss", "fails", f"# Fails.\n{TARGET}fails\n", "loss=fails: fails for classification (ValueError: no way)"),
    ("mode", "show", f"# Show.\nscheduler:\n  {TARGET}Plain\n", "mode=show: is no Scheduler"),
    ("looss", "cubed", f"# Cubes.\n{TARGET}cubed\n", "is of no group of mlpipe, got 'looss'; did you mean 'loss'?"),
    ("loss", "tab", "# Tab.\n\t: 3\n", "loss=tab: cannot be read"),
]  # fmt: skip
CODE = """
class Plain:
    def __init__(self, run_config, context): pass
def no_number(outputs, targets):
    return (outputs * float("nan")).sum()
def fails(outputs, targets):
    raise ValueError("no way")
"""


@pytest.mark.parametrize(("group", "name", "text", "sentence"), WRONG)
def test_what_is_wrong_is_told(package: Path, group: str, name: str, text: str, sentence: str) -> None:
    with (package / "parts.py").open("a") as file:
        file.write(CODE)
    option(package, group, name, text)
    with pytest.raises(AssertionError) as raised:
        testing.check_plugin("cubes")
    assert sentence in str(raised.value), raised.value


def test_a_plugin_that_is_not_there_or_brings_nothing(package: Path) -> None:
    with pytest.raises(
        AssertionError, match=r"mlpipe\.plugins: there is no such plugin, got 'cube'; did you mean 'cubes'"
    ):
        testing.check_plugin("cube")
    (package / "conf" / "loss" / "cubed.yaml").unlink()
    with pytest.raises(AssertionError, match="brings no options; add files such as conf/loss/NAME.yaml"):
        testing.check_plugin("cubes")
