"""The hash of own code changes with every file that its result depends on, and with no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe import files
from mlpipe.data import code_digests

FILES = {
    "own/__init__.py": "from own.deep import body\n",
    "own/deep/__init__.py": "from .parts import body\n",
    "own/deep/parts.py": "import helper\nfrom loose.tools import more\n\n\ndef body(): ...\n",
    "own/unused.py": "import importlib\n",
    "helper.py": "import json, math\nfrom second import name\n",
    "second.py": "name = 1\n",
    "loose/tools.py": "from . import sibling\nmore = 1\n",
    "loose/sibling.py": "",
    "loose/stranger.py": "",
    "stranger.py": "",
    "json.txt": "",
}
BEHIND = ["helper.py", "loose/sibling.py", "loose/tools.py", "own/deep/__init__.py", "own/deep/parts.py",
          "own/unused.py", "second.py"]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def test_packages_and_imports_are_followed(folder: Path) -> None:
    own = {"own": folder / "own" / "__init__.py"}
    assert list(code_digests.digests(own)) == ["own", *BEHIND]
    # A module inside of the package depends on the same files.
    inside = {"own.deep.parts": folder / "own" / "deep" / "parts.py"}
    others = {*BEHIND, "own/__init__.py"} - {"own/deep/parts.py"}
    assert set(code_digests.digests(inside)) == {"own.deep.parts", *others}
    # Modules without a package: only what they import.
    assert list(code_digests.digests({"helper": folder / "helper.py"})) == ["helper", "second.py"]
    loose = {"loose.tools": folder / "loose" / "tools.py"}
    assert list(code_digests.digests(loose)) == ["loose.tools", "loose/sibling.py"]


@pytest.mark.parametrize("name", ["own/__init__.py", *BEHIND])
def test_every_file_behind_changes_the_hash_and_others_do_not(folder: Path, name: str) -> None:
    own = {"own": folder / "own" / "__init__.py"}
    before = code_digests.digests(own)
    (folder / "stranger.py").write_text("1\n", "utf-8")
    (folder / "loose" / "stranger.py").write_text("1\n", "utf-8")
    assert code_digests.digests(own) == before
    (folder / name).write_text(f"{FILES[name]}# changed\n", "utf-8")
    after = code_digests.digests(own)
    assert [key for key in before if before[key] != after[key]] == [name if name in before else "own"]


def test_a_single_file_has_the_hash_of_its_bytes_alone(folder: Path) -> None:
    path = folder / "second.py"
    assert code_digests.digests({"second": path}) == {"second": files.digest_file(path)}
    # Code that cannot be parsed, and a circle of imports.
    path.write_text("def (\n", "utf-8")
    assert list(code_digests.digests({"second": path})) == ["second"]
    path.write_text("import helper\n", "utf-8")
    assert list(code_digests.digests({"second": path})) == ["second", "helper.py"]
    assert code_digests.digests({"gone": folder / "gone.py"}) == {}


def test_imports_of_installed_packages_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "site-packages"
    for name in ("plug/__init__.py", "plug/part.py", "other.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("import other\n", "utf-8")
    assert list(code_digests.digests({"plug": root / "plug" / "__init__.py"})) == ["plug", "plug/part.py"]
