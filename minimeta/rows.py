"""A long experiment in pieces: each finished piece is a row, a JSON file of its own in one folder.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as name:
...     folder = opened(name)
...     write(folder / "maml-seed0.json", {"seed": 0, "mean": 0.98})
...     [row["mean"] for row in read_all(folder, "maml-*.json", keys=("seed", "mean"))]
[0.98]
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from minimeta.errors import MinimetaError
from minimeta.files import replacing

Row = dict[str, Any]


def opened(folder: str | Path) -> Path:
    """Make the folder if need be and see that it can be written to, before hours of work and not after."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f".writable.{os.getpid()}") as file:
            file.write(b"")
        (folder / f".writable.{os.getpid()}").unlink()
    except OSError as error:
        raise MinimetaError(
            f"results cannot be kept in {folder} ({error.strerror}); name a folder that may be written to."
        ) from None
    return folder


@contextmanager
def held(path: Path, say: Callable[[str], object]) -> Iterator[None]:
    """Hold a row while working on it: another process that wants it waits, then finds it finished."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{path.stem}: another process is at it; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def read(path: Path, keys: Sequence[str]) -> Row | None:
    """Return a row that has these keys, or None where there is no file."""
    if not path.exists():
        return None
    try:
        row = json.loads(path.read_text(encoding="utf8"))
    except ValueError as error:
        raise MinimetaError(
            f"{path} is not readable JSON ({error}); move it away to do that part again."
        ) from None
    if not isinstance(row, dict) or (missing := [key for key in keys if key not in row]):
        lacks = ", ".join(missing) if isinstance(row, dict) else "its fields"
        raise MinimetaError(f"{path} lacks {lacks}; move it away to do that part again.")
    return row


def read_all(folder: str | Path, pattern: str, keys: Sequence[str]) -> list[Row]:
    """Return the rows of all files in a folder whose names match; files of other names are not ours."""
    if not Path(folder).is_dir():
        raise MinimetaError(f"there is no folder {folder}; nothing has been done there yet.")
    found = (read(path, keys) for path in sorted(Path(folder).glob(pattern)))
    return [row for row in found if row is not None]


def write(path: Path, row: Row) -> None:
    """Write a row, whole or not at all."""
    with replacing(path) as file:
        file.write((json.dumps(row, indent=1) + "\n").encode())
