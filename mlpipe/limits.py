"""Limits of what is read of files that anybody may have written, and the one way to read a file whole.

`docs/safety.md` has them as a table. None of them is near what people have; each is below what stops a machine.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import resource
except ImportError:
    # Windows has none.
    resource = None  # type: ignore[assignment]

# Bytes of a text that people write: recipes, options, code, lists of names.
TEXT = 64 << 20
# Bytes of a JSON file that this program writes; a task of a million samples has 200 MB.
STORED = 2 << 30
# Bytes of one that knows no samples, such as a record: a few bytes of JSON are a hundred in memory.
RECORD = 64 << 20
# Bytes of one encoded image.
IMAGE = 2 << 30
# Values of a YAML file with its aliases and merges written out; a few aliases of aliases can stand for billions.
NODES = 100_000
# Keys of a YAML file; ten thousand of them take seconds to read.
KEYS = 30_000
# Levels of a YAML file: deeper than any configuration, and far from the end of Python's stack.
DEPTH = 150
# Levels of a JSON file; Keras writes networks that are nested in each other.
JSON_DEPTH = 500
# Digits of a whole number, in whichever base; no key takes so many.
DIGITS = 400
# Settings of one recipe or of one command line.
SETTINGS = 5_000
# Columns of a table, cells of all its rows together, and characters of one line.
COLUMNS, CELLS, LINE = 10_000, 50_000_000, 32 << 20
# Scans of a progressive JPEG, and the pixels of all its scans together, in images of the most pixels.
SCANS, SCANNED_IMAGES = 100, 20
# Numbers of a PNM file that Pillow reads one by one, half a second for each million.
NUMBERS = 40_000_000
# Letters of the name of a class, and the runs of one sweep.
NAME, JOBS = 1_000, 10_000
# Layers of a network of Keras, each of which is built, and groups of an HDF5 file that hold nothing.
LAYERS, EMPTY_GROUPS = 5_000, 1_000
# Boxes of one image: every image of a task has room for as many as the one with the most.
BOXES = 10_000
# Bytes of one study of a search, its rows or the lines of its journal, and the values in them.
STUDY, STUDY_ROWS, STUDY_VALUES = 256 << 20, 500_000, 10_000_000
# Values of a journal that Optuna copies and compares while it reads it: those of a trial with each of its lines.
STUDY_STEPS = 2_000_000_000
# Trials of a search by several metrics that are compared with each other, each with each.
STUDY_FRONT = 10_000
# What is packed, or only declared, may have so many bytes; beyond them so many times those that are stored.
UNPACKED, GROWTH = 1 << 30, 100
# The same of an archive: a picture of nothing is decoded to several times what is unpacked.
ARCHIVE = 256 << 20
# Deflate stores a byte that is repeated in so little, as in a volume of class numbers.
DEFLATED = 1_100
# What NumPy raises for files of arrays, packed ones too, that are damaged; headers of arrays are read as Python.
DAMAGED_ARRAY = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    tokenize.TokenError,
    RecursionError,
)
# Seconds that a file of somebody else may compute for each sample, and a regular expression for all paths of a task, and for each
# of them beside that.
SECONDS, MATCHING, MATCHING_EACH = 60, 20, 2e-5
# Addresses that the system's library sets aside for each thread that it starts, whether they are used or not.
_OF_THREAD = 160 << 20
_ONE_AT_A_TIME = threading.RLock()


class ForeignFileError(OSError):
    """A file that is not read: it is no ordinary one, or larger than its kind ever is."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EINVAL, reason)

    def __str__(self) -> str:
        return str(self.strerror)


def require_ordinary(path: Path, most: int | None = None) -> int:
    """Refuse what is no ordinary file, such as a pipe or a device, before a library opens it and waits.

    Args:
        path: The file; a link counts as what it leads to.
        most: The most bytes that it may have; None: any number.

    Returns:
        Its size in bytes.

    Raises:
        OSError: When it is not there, is no ordinary file, or is larger.
    """
    return _ordinary_size(os.stat(path), most)  # noqa: PTH116


def content(path: Path, most: int) -> bytes:
    """All bytes of a file.

    Args:
        path: The file; a link counts as what it leads to.
        most: The most bytes that it may have.

    Raises:
        OSError: When it cannot be opened, is no ordinary file (a pipe or a device never ends), or is larger.
    """
    # Without waiting: a pipe that nobody writes into would never open.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        size = _ordinary_size(os.fstat(handle), most)
        # A number, since a file that grows meanwhile never ends.
        return file.read(size)


def beginning(path: Path, most: int) -> bytes:
    """The first bytes of a file.

    Args:
        path: The file; a link counts as what it leads to.
        most: How many at most.

    Raises:
        OSError: When it cannot be opened, or is no ordinary file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        _ordinary_size(os.fstat(handle), None)
        return file.read(most)


def text(path: Path, most: int = TEXT) -> str:
    """The text of a UTF-8 file.

    Raises:
        OSError: As `content`.
        UnicodeDecodeError: When it is not UTF-8.
    """
    return content(path, most).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def require_growth(stored: int, unpacked: int, name: str, most: int | None = None) -> None:
    """Refuse what is small and stands for more than it could honestly hold.

    Args:
        stored: The bytes that are there.
        unpacked: The bytes that it says to be.
        name: Its name, for the sentence.
        most: How many times as large it may be; None: `GROWTH`.

    Raises:
        ValueError: When it grows by more than that beyond `UNPACKED`.
    """
    if unpacked > UNPACKED and unpacked > (GROWTH if most is None else most) * stored:
        raise ValueError(f"{name} would have {unpacked:,} bytes, of which {stored:,} are stored")


def require_members(archive: zipfile.ZipFile) -> None:
    """Refuse an open zip that is far larger unpacked than packed, one of its members or all of them together.

    Raises:
        ValueError: Naming the member.
    """
    members = archive.infolist()
    for member in members:
        require_growth(member.compress_size, member.file_size, member.filename)
    require_growth(
        sum(entry.compress_size for entry in members), sum(entry.file_size for entry in members), "all of it"
    )


def machine_memory() -> int:
    """Bytes of the machine's memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0


@contextmanager
def memory(stored: int) -> Iterator[None]:
    """Let this process grow by `UNPACKED` at most meanwhile, or by `GROWTH` times the bytes of what it works with.

    What needs more fails as where memory ran out. Where the system cannot say how large the process is, nothing is limited.

    Args:
        stored: The bytes of a file and of what it is given.
    """
    with _ONE_AT_A_TIME:
        try:
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
            before = resource.getrlimit(resource.RLIMIT_AS)
        except (OSError, AttributeError, ValueError):
            yield
            return
        threads = _OF_THREAD * (os.cpu_count() or 1)
        limit = pages * resource.getpagesize() + max(UNPACKED, GROWTH * stored) + threads
        if before[0] != resource.RLIM_INFINITY and before[0] <= limit:
            yield
            return
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def seconds(most: float) -> Iterator[None]:
    """Let what Python computes meanwhile, as a regular expression does, take so many seconds at most.

    Outside of the main thread, and where there is no such clock, nothing is limited.

    Args:
        most: The seconds.

    Raises:
        TimeoutError: When they are over.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def end(*_: object) -> None:
        raise TimeoutError(f"more than {most:g} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, most)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ordinary_size(state: os.stat_result, most: int | None) -> int:
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(state.st_mode):
        raise ForeignFileError("it is no ordinary file")
    if most is not None and state.st_size > most:
        raise ForeignFileError(f"it has {state.st_size:,} bytes, more than the {most:,} that are read")
    return state.st_size
