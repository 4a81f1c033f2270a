"""Files that are read, which may be damaged, and files that are written: whole or not at all, and never in place of
what nobody asked to replace."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeopt.errors import EdgeoptError, UserError

_REMEDIES = {
    errno.ENOSPC: "free space there and in the folder of temporary files, or choose another place",
    errno.EDQUOT: "free space there and in the folder of temporary files, or choose another place",
    errno.EFBIG: "raise the limit with ulimit -f, or choose another place",
    errno.EACCES: "choose a place where you may read and write",
    errno.EPERM: "choose a place where you may read and write",
    errno.EROFS: "choose a place where you may read and write",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "choose a place that is not below a file",
    errno.EEXIST: "choose a place that is not below a file",
    errno.EISDIR: "give a file instead of a folder",
    errno.ELOOP: "mend the links, or choose another place",
    errno.EBUSY: "choose a folder inside it",
    errno.EIO: "check the disk, or choose another place",
    errno.EMFILE: "close other files, or raise the limit with ulimit -n",
}
_BEGINNING = 4096
"""Bytes in which a file shows of which kind it is."""


def is_circumstance(error: OSError) -> bool:
    """Return whether an error of the system tells of the user's disk and rights, not of a fault in the code."""
    return error.errno in _REMEDIES


def explained(error: OSError, place: Path | None = None) -> UserError:
    """Return the error of the system as a sentence about the file that it names, or else about ``place``."""
    name = error.filename or place
    subject = "a file" if name is None else f"'{name}'"
    return UserError(f"{subject} cannot be used: {error.strerror}", _REMEDIES.get(error.errno or 0, "check the path"))


def reason(error: Exception) -> str:
    """Return what an exception says, without the number that the system gives it."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


@contextmanager
def reading(source: object, remedy: str) -> Iterator[None]:
    """Raise UserError where what the block reads of ``source`` is damaged.

    Parsers, archives and decoders raise whatever they meet first in bytes that nobody meant: no list of types is whole.
    """
    try:
        yield
    except EdgeoptError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            found = explained(error)
            raise UserError(found.message, found.hint if is_circumstance(error) else remedy) from error
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"'{source}' is truncated or damaged: {said[:300]}", remedy) from error


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Raise UserError where the system refuses to write to ``place``, or where the disk is full."""
    try:
        yield
    except OSError as error:
        name = Path(error.filename) if isinstance(error.filename, str) else None
        is_beside = name is not None and name.parent == place.parent
        if not is_beside and name not in place.parents and not is_circumstance(error):
            raise
        # What lies beside the place is a temporary file, whose name tells nobody anything.
        raise explained(OSError(error.errno, error.strerror) if is_beside else error, place) from error
    except RuntimeError as error:
        # Libraries in C++ report a full disk in words of their own.
        if not _is_full(place):
            raise
        raise explained(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), place) from error


def check_space(folder: Path, size: int) -> None:
    """Raise OSError where a disk has less than ``size`` bytes left, for what ends the process when a write fails."""
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_full(place: Path) -> bool:
    folder = next(parent for parent in place.absolute().parents if parent.is_dir())
    return any(shutil.disk_usage(disk).free < 4096 for disk in (folder, tempfile.gettempdir()))


def followed(place: Path) -> Path:
    """Return where a link leads, so that it is written through and not replaced.

    Raises UserError where it leads to nothing, and OSError where there can be no such place.
    """
    with suppress(FileNotFoundError):
        place.lstat()
    if not place.is_symlink():
        return place
    end = Path(os.path.realpath(place))
    if not end.exists():
        raise UserError(f"'{place}' is a link to '{end}', which does not exist", "make that, or remove the link")
    return end


@contextmanager
def made_parents(place: Path) -> Iterator[None]:
    """Make the folders above ``place``; those that are new and still empty afterwards are removed again."""
    made = [parent for parent in place.parents if not parent.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for parent in made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of ``file`` when the block ends without an error.

    It bears the name of ``file`` and lies on the same disk. A device or a pipe is written straight. Raises UserError
    where the place cannot be written.
    """
    with writing(file):
        file = followed(file)
        if file.exists() and not file.is_file() and not file.is_dir():
            yield file
            return
        with made_parents(file), tempfile.TemporaryDirectory(prefix=".edgeopt-", dir=file.parent) as folder:
            temporary = Path(folder) / file.name
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(file)


def write_whole(file: Path, text: str) -> None:
    """Write a text so that the file is there whole or not at all, even when the process or the machine dies.

    Raises UserError where the place cannot be written.
    """
    with replacing(file) as temporary:
        temporary.write_text(text, "utf-8")


def check_writable(file: Path | None, own: str) -> None:
    """Raise UserError where a file can't be written, before the work whose result it is to hold; None is fine.

    What is there is replaced only where it is empty or of the same kind: where the expression ``own`` is found in its
    beginning.
    """
    if file is None:
        return
    with writing(file):
        file = followed(file)
        if file.is_dir():
            raise UserError(f"'{file}' is a folder", "give a file instead of a folder")
        if file.exists() and not file.is_file():
            return
        _check_own(file, own)
        with made_parents(file), tempfile.TemporaryFile(dir=file.parent):
            pass


def _check_own(file: Path, own: str) -> None:
    if not file.exists():
        return
    with file.open("rb") as stream:
        beginning = stream.read(_BEGINNING).decode("utf-8", "replace")
    if beginning and re.search(own, beginning) is None:
        raise UserError(
            f"'{file}' exists and is not what this command writes", "choose another name, or move it elsewhere"
        )
