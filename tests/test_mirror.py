"""A unit test lies at the path of its module: what `mlpipe/post/threshold.py` does, `tests/post/test_threshold.py` says."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "mlpipe"
# What goes through the whole program, pages of the documentation, hostile inputs and scripts have no module.
ELSEWHERE = ("program/", "docs/", "safety/", "scripts/")
# Tests of the package, or of one of its packages, as a whole.
WHOLE = {
    "test_containers.py", "test_layers.py", "test_mirror.py", "test_defects.py", "test_memory.py", "api/test_api.py",
    "dialects/test_wrong_values.py", "post/test_sentences.py", "post/test_stored.py", "post/test_unchanged.py",
}  # fmt: skip


def has_module(place: str) -> bool:
    """Whether a test's path stands for a module or package; a second test of it adds words to its name."""
    folder, _, name = place.rpartition("/")
    words = name.removeprefix("test_").removesuffix(".py").split("_")
    names = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
    return any(
        (PACKAGE / folder / f"{one}.py").exists() or (PACKAGE / folder / one / "__init__.py").exists() for one in names
    )


def test_a_test_lies_at_the_path_of_its_module() -> None:
    files = (path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py"))
    mirrored = (place for place in files if not place.startswith(ELSEWHERE))
    assert sorted(place for place in mirrored if place not in WHOLE and not has_module(place)) == []
