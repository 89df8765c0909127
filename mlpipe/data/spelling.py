"""Comparison of texts that differ in storage only: blanks around them, or letters composed in another way."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from mlpipe.errors import listing

# Blanks that a line does not break at, and marks that take no room, which nobody sees.
_BLANKS = dict.fromkeys(map(ord, "\u00a0\u2007\u202f"), " ")
_UNSEEN = "\ufeff\u200b\u2060"
_SHOWN = 5


def plain(text: str) -> str:
    """A text as it is compared and named: without blanks around it, blanks that do not break as ordinary ones, in NFC."""
    result = text.translate(_BLANKS).strip()
    while result and (result[0] in _UNSEEN or result[-1] in _UNSEEN):
        result = result.strip(_UNSEEN).strip()
    return result if result.isascii() else unicodedata.normalize("NFC", result)


def plain_all(texts: Iterable[str] | None) -> list[str] | None:
    """Texts, each as `plain` has it; None stays None."""
    return None if texts is None else [plain(text) for text in texts]


def same_text_problems(texts: Iterable[str], noun: str) -> list[str]:
    """A sentence that says which texts are the same though they are stored differently; none where there are none.

    Args:
        texts: The texts as they are stored.
        noun: What they are, such as `values of column group`.
    """
    forms: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        forms.setdefault(plain(text), []).append(text)
    several = [" and ".join(map(ascii, spellings)) for name, spellings in forms.items() if name and len(spellings) > 1]
    if not several:
        return []
    clause = "they differ in blanks around them, or in how letters are composed"
    return [f"{noun} that are taken as the same: {listing(several, most=_SHOWN)}; {clause}"]


def finder() -> Callable[[Path, str], Path]:
    """A function from a folder and a path below it, as somebody wrote it, to the path as the disk spells it.

    What is there as it was written is taken so. Otherwise each name of the path is looked for among the names in its
    folder, compared as `plain` has them. What is not there at all stays as `plain` has it. Folders are listed once.
    """
    listed: dict[Path, dict[str, str]] = {}

    def names_in(folder: Path) -> dict[str, str]:
        if folder not in listed:
            try:
                listed[folder] = {plain(entry.name): entry.name for entry in folder.iterdir()}
            except OSError:
                listed[folder] = {}
        return listed[folder]

    def found(base: Path, text: str) -> Path:
        plain_path = base / plain(text)
        for path in (base / text, plain_path):
            if _exists(path):
                return path
        place = base
        for part in PurePosixPath(plain(text)).parts:
            place = place / part if _exists(place / part) else place / names_in(place).get(plain(part), part)
        return place if _exists(place) else plain_path

    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        # A name that is too long for any file, or has a zero in it.
        return False
