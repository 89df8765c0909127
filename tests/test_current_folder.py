"""What of the current folder is the user's own code, who may import it, and what a stored configuration names of it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipe import current_folder


def module(path: Path, text: str = "VALUE = 3\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_results_data_and_roots_are_nobodys_own(tmp_path: Path) -> None:
    names = ["mine.py", "pkg/mine.py", "results/p/evil.py", "mlpipe_data/t/evil.py", "out/p/evil.py", "set/evil.py"]
    own = {name: module(tmp_path / name) for name in names}
    (tmp_path / "set" / "images").mkdir()
    current_folder.exclude(tmp_path / "out", *current_folder.task_folders({"root": "set", "modules": "pkg"}))
    assert [name for name, path in own.items() if current_folder.holds(path)] == ["mine.py", "pkg/mine.py"]
    assert current_folder.module_place("pkg.mine") == tmp_path / "pkg" / "mine.py"
    assert current_folder.module_place("results.p.evil") is None


def test_where_results_lie_around_the_current_folder_their_projects_alone_are_left_out(tmp_path: Path) -> None:
    module(tmp_path / "mine.py")
    module(tmp_path / "proj" / "evil.py")
    (tmp_path / "proj" / "runs").mkdir()
    module(tmp_path / "archives" / "x" / "evil.py")
    current_folder.exclude(tmp_path)
    assert current_folder.holds(tmp_path / "mine.py")
    assert not current_folder.holds(tmp_path / "proj" / "evil.py")
    assert not current_folder.holds(tmp_path / "archives" / "x" / "evil.py")


def test_links_names_of_python_and_what_is_installed_are_not_own(tmp_path: Path) -> None:
    outside = module(tmp_path.parent / f"{tmp_path.name}-outside" / "evil.py")
    (tmp_path / "linked.py").symlink_to(outside)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").symlink_to(outside)
    for name in ("pkg/mine.py", "os.py", "mlpipe.py", "site-packages/other.py"):
        module(tmp_path / name)
    names = ("linked", "pkg.mine", "os", "mlpipe", "site-packages.other", "a..b", "")
    assert [name for name in names if current_folder.module_place(name) is not None] == []


def test_libraries_find_nothing_here_and_own_files_find_each_other(tmp_path: Path) -> None:
    module(tmp_path / "optional_of_a_test.py", "raise RuntimeError('ran')\n")
    module(
        tmp_path / "first_of_a_test.py",
        "import second_of_a_test\ndef later():\n    import third_of_a_test\n    return 3\n",
    )
    module(tmp_path / "second_of_a_test.py")
    module(tmp_path / "third_of_a_test.py")
    with current_folder.importable("first_of_a_test"):
        first = importlib.import_module("first_of_a_test")
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("optional_of_a_test")
    assert first.second_of_a_test.VALUE == 3 and first.later() == 3
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("optional_of_a_test")
    assert str(tmp_path) not in sys.path


def test_processes_that_are_started_find_nothing_here(tmp_path: Path) -> None:
    module(tmp_path / "dill.py", f"from pathlib import Path\nPath({str(tmp_path / 'proof')!r}).touch()\n")
    command = [
        sys.executable,
        "-c",
        "import sys; print('' in sys.path)\ntry:\n    import dill\nexcept ImportError: pass",
    ]
    with current_folder.isolated_processes():
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False" and not (tmp_path / "proof").exists()
    assert "PYTHONSAFEPATH" not in os.environ


def test_what_a_configuration_names_of_the_users_own_code(tmp_path: Path) -> None:
    module(tmp_path / "mine.py")
    tree = {
        "loss": {"_target_": "mine.loss", "modules": "code"},
        "arch": {"_target_": "torch.nn.Linear", "imports": ["other"]},
        "task": {"file": "mine.csv.gz", "name": "a.b"},
    }
    found = current_folder.named_code(tree)
    assert found == {"mine": "mine.loss", str(tmp_path / "code"): "every file of code", "other": "other"}
    assert current_folder.unallowed_code(tree, tree, []) == {}
    assert list(current_folder.unallowed_code(tree, None, ["mine", "code"])) == ["other"]
    assert list(current_folder.unallowed_code({"a": "mine.loss"}, {"b": "mine.other"}, [])) == []
    assert list(current_folder.unallowed_code({"a": "mine.loss"}, None, ["min"])) == ["mine"]


def test_a_home_folder_is_put_in_the_place_of_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert (
        current_folder.expanded("~/a") == tmp_path / "home" / "a" and current_folder.expanded("~") == tmp_path / "home"
    )
    for name in ("~nobody-of-a-test/a", "a/~/b", "./~/a", "a\0b", "~\0/a", "~\udcff/a"):
        assert current_folder.expanded(name) == Path(name)


def test_no_folder_of_a_user_that_there_is_not_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (sentence,) = current_folder.unknown_home("out_dir", "~nobody-of-a-test/a")
    assert sentence.startswith("out_dir: there is no home folder ~nobody-of-a-test, got '~nobody-of-a-test/a'; write")
    (tmp_path / "~drafts").mkdir()
    for name in ("~", "~/a", "./~nobody-of-a-test", "a", "", "~drafts/a"):
        assert current_folder.unknown_home("out_dir", name) == []


def test_every_path_is_expanded_by_the_same_function() -> None:
    # pathlib's own fails for the `~name` of an unknown user, after which a command ends as unexpected.
    sources = {path: path.read_text("utf-8") for path in Path(current_folder.__file__).parent.rglob("*.py")}
    assert [path.name for path, text in sources.items() if "expanduser(" in text] == ["current_folder.py"]
