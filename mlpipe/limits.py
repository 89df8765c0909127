"""Limits for reading files of unknown origin, and the functions that read a whole file within them.

`docs/safety.md` lists the limits in a table. Each is far above real data and low enough to protect the machine.
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

# Bytes of a text file that people write: recipes, options, code, lists of names.
TEXT = 64 << 20
# Bytes of a JSON file that this program writes; a task of a million samples has 200 MB.
STORED = 2 << 30
# Bytes of a JSON file without samples, such as a record: a few bytes of JSON take a hundred in memory.
RECORD = 64 << 20
# Bytes of one encoded image.
IMAGE = 2 << 30
# Values of a YAML file with all aliases and merges expanded; a few nested aliases can expand to billions.
NODES = 100_000
# Keys of a YAML file; ten thousand take seconds to parse.
KEYS = 30_000
# Levels of a YAML file: deeper than any configuration, and far below Python's recursion limit.
DEPTH = 150
# Levels of a JSON file; Keras nests networks in networks.
JSON_DEPTH = 500
# Digits of an integer in any base; no key needs so many.
DIGITS = 400
# Settings of one recipe or of one command line.
SETTINGS = 5_000
# Columns of a table, cells of all its rows together, and characters of one line.
COLUMNS, CELLS, LINE = 10_000, 50_000_000, 32 << 20
# Scans of a progressive JPEG, and the pixels of all its scans together, in images of the most pixels.
SCANS, SCANNED_IMAGES = 100, 20
# Numbers of a PNM file that Pillow reads one by one, half a second for each million.
NUMBERS = 40_000_000
# Lines of a run's journal, a few for each step; tensors of a file of weights, each of which takes 0.1 ms to read.
EVENTS, TENSORS = 100_000, 50_000
# Letters of the name of a class, and the runs of one sweep.
NAME, JOBS = 1_000, 10_000
# Layers of a Keras network, all of which are built, and empty groups of an HDF5 file.
LAYERS, EMPTY_GROUPS = 5_000, 1_000
# Boxes of one image: the arrays of a task have room for the largest number in every image.
BOXES = 10_000
# Bytes of a study (a hyperparameter search), its rows or journal lines, and the values in them.
STUDY, STUDY_ROWS, STUDY_VALUES = 256 << 20, 500_000, 10_000_000
# Values of a journal that Optuna copies and compares while it reads it: those of a trial with each of its lines.
STUDY_STEPS = 2_000_000_000
# Trials of a search by several metrics that are compared with each other, each with each.
STUDY_FRONT = 10_000
# Bytes that compressed or merely declared content may unpack to; beyond them, the allowed ratio of unpacked to stored bytes.
UNPACKED, GROWTH = 1 << 30, 100
# The same for archives, whose pictures are decoded to several times their unpacked size.
ARCHIVE = 256 << 20
# The highest ratio of Deflate, reached by repeated bytes, as in a volume of class numbers.
DEFLATED = 1_100
# Exceptions of NumPy for damaged .npy and .npz files; it parses array headers as Python literals.
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
# Seconds that foreign code may compute per sample; that a regular expression may take for all paths of a task, plus per path.
SECONDS, MATCHING, MATCHING_EACH = 60, 20, 2e-5
# Address space that the C library reserves for each thread, used or not.
_OF_THREAD = 160 << 20
_ONE_AT_A_TIME = threading.RLock()


class ForeignFileError(OSError):
    """A file is not read, because it is not a regular file or is too large."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EINVAL, reason)

    def __str__(self) -> str:
        return str(self.strerror)


def require_ordinary(path: Path, most: int | None = None) -> int:
    """Refuse pipes, devices and other special files, before a library opens one and blocks.

    Args:
        path: The file; links are followed.
        most: The largest accepted size in bytes; None: no limit.

    Returns:
        The size in bytes.

    Raises:
        OSError: If the file does not exist, is not a regular file, or is larger.
    """
    return _ordinary_size(os.stat(path), most)  # noqa: PTH116


def content(path: Path, most: int) -> bytes:
    """Read all bytes of a file.

    Args:
        path: The file; links are followed.
        most: The largest accepted size in bytes.

    Raises:
        OSError: If the file cannot be opened, is not a regular file (a pipe or a device may never end), or is larger.
    """
    # O_NONBLOCK: opening a pipe without a writer would block forever.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        size = _ordinary_size(os.fstat(handle), most)
        # At most `size` bytes, since the file may grow meanwhile.
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
    r"""Read a UTF-8 text file; line ends become "\n".

    Raises:
        OSError: As in `content`.
        UnicodeDecodeError: If it is not UTF-8, or has a zero byte, which no text has: a file that is mostly not there may have
            gigabytes of them.
    """
    stored = content(path, most)
    if (place := stored.find(b"\0")) >= 0:
        raise UnicodeDecodeError("utf-8", stored[place : place + 1], 0, 1, f"it has a zero byte at {place}")
    return stored.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def require_growth(stored: int, unpacked: int, name: str, most: int | None = None) -> None:
    """Refuse content whose declared size is implausibly large for its stored size, such as a zip bomb.

    Args:
        stored: The stored bytes.
        unpacked: The declared bytes.
        name: The name for the error.
        most: The largest accepted ratio; None: `GROWTH`.

    Raises:
        ValueError: If the declared size exceeds both `UNPACKED` and the ratio.
    """
    if unpacked > UNPACKED and unpacked > (GROWTH if most is None else most) * stored:
        raise ValueError(f"{name} would have {unpacked:,} bytes, of which {stored:,} are stored")


def require_members(archive: zipfile.ZipFile) -> None:
    """Refuse a zip with an implausible ratio of unpacked to packed size, of one member or of all together.

    Raises:
        ValueError: With the member's name.
    """
    members = archive.infolist()
    for member in members:
        require_growth(member.compress_size, member.file_size, member.filename)
    require_growth(
        sum(entry.compress_size for entry in members), sum(entry.file_size for entry in members), "all of it"
    )


def machine_memory() -> int:
    """Return the machine's memory in bytes; 0 if unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0


@contextmanager
def memory(stored: int) -> Iterator[None]:
    """Limit how much this process's memory grows inside the block: `UNPACKED`, or `GROWTH` times the stored bytes if more.

    Larger allocations fail as if memory had run out. Without /proc nothing is limited.

    Args:
        stored: The bytes of the file and of its other input.
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
    """Limit the time of Python code inside the block, such as a regular expression.

    Outside the main thread, and on systems without an interval timer, nothing is limited.

    Args:
        most: The seconds.

    Raises:
        TimeoutError: When the time is over.
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
