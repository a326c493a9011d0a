"""Writing a file whole or not at all."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to write that becomes ``path`` at the end of the block, if the block succeeds.

    The bytes go to another name in the same folder, hence the same disk, where renaming is one step:
    a crash, a full disk or an interruption leaves the old file, or none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "new" / "file") as out:
    ...         _ = out.write(b"whole")
    ...     (Path(folder) / "new" / "file").read_bytes()
    b'whole'
    """
    path = Path(path).resolve()  # a link stays one, and what it points to is replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _remove_orphans(path: Path) -> None:
    """Remove half-written files of processes that were killed: they could not clean up themselves."""
    if os.name != "posix":  # elsewhere, asking whether a process lives may end it
        return
    for part in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        number = part.suffixes[-2].removeprefix(".")
        if number.isdigit() and not _alive(int(number)):
            part.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, but alive
        pass
    return True
