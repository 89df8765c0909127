"""Root folder of a source: as the user names it, or an archive unpacked."""

from __future__ import annotations

from pathlib import Path

from mlpipe.data import archives, walking
from mlpipe.errors import DataError, did_you_mean, problem


def opened(root: str, data_dir: str | None, key: str) -> Path:
    """The absolute path of a folder; an archive is unpacked below the data folder first.

    A single folder in an archive that holds everything else is stepped into.

    Raises:
        DataError: When it is neither a folder nor an archive.
    """
    base = Path(root).expanduser().absolute()
    if base.is_file() and archives.is_archive(base):
        if data_dir is None:
            raise DataError(problem(key, "is an archive, and there is no data_dir to unpack it in", got=root))
        base = archives.unpacked(base, Path(data_dir).expanduser().absolute() / "archives")
        while len(inside := walking.entries(base)) == 1:
            if not inside[0].is_dir() or not walking.folders(inside[0]):
                break
            base = inside[0]
        return base
    if not base.is_dir():
        fix = did_you_mean(base.name, _siblings(base), otherwise="name an existing folder, or a zip or tar archive")
        raise DataError(problem(key, "there is no such folder", got=str(base), fix=fix))
    return base


def _siblings(base: Path) -> list[str]:
    return [entry.name for entry in base.parent.iterdir() if entry.is_dir()] if base.parent.is_dir() else []
