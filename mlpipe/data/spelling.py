"""Comparison of texts that differ only in storage: whitespace around them, or another Unicode composition of letters."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from mlpipe.errors import listing

# Non-breaking spaces, and zero-width marks, which are invisible.
_BLANKS = dict.fromkeys(map(ord, "\u00a0\u2007\u202f"), " ")
_UNSEEN = "\ufeff\u200b\u2060"
_SHOWN = 5


def plain(text: str) -> str:
    """Normalise a text for comparison and naming: strip it, replace non-breaking spaces by spaces, and convert it to NFC."""
    result = text.translate(_BLANKS).strip()
    while result and (result[0] in _UNSEEN or result[-1] in _UNSEEN):
        result = result.strip(_UNSEEN).strip()
    return result if result.isascii() else unicodedata.normalize("NFC", result)


def plain_all(texts: Iterable[str] | None) -> list[str] | None:
    """Apply `plain` to each text; None stays None."""
    return None if texts is None else [plain(text) for text in texts]


def same_text_problems(texts: Iterable[str], noun: str) -> list[str]:
    """Return a sentence that names texts which are equal but stored differently; none if there are no such texts.

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
    """Return a function from a folder and a path below it, as a user wrote it, to the path as it is spelt on disk.

    A path that exists as written is returned unchanged. Otherwise each component is compared, by `plain`, with the names in
    its folder, and backslashes separate components too, as on Windows. A path that does not exist is normalised by `plain`.
    Each folder is listed once.
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
        for part in PurePosixPath(plain(text).replace("\\", "/")).parts:
            place = place / part if _exists(place / part) else place / names_in(place).get(plain(part), part)
        return place if _exists(place) else plain_path

    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        # The name is too long for any file, or has a null character in it.
        return False
