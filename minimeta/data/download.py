"""Where data files lie on this machine, and how they get there: looked for, fetched, checked.

A data set is a folder of prepared files, such as ``omniglot/omniglot_105.npz``. It is looked for
in the folder named by the environment variable ``MINIMETA_DATA``, then in the cache. Nothing is
ever half there: a file is written under another name and renamed when it is whole and checked. A
download that breaks off is gone on with, and two processes at once take turns.

>>> find("no_such_set/nothing.npz") is None
True
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minimeta.data.transfer import download, size
from minimeta.errors import DataUnavailable, MinimetaError
from minimeta.files import replacing

if TYPE_CHECKING:
    import requests


def cache_dir() -> Path:
    """Return the folder that downloads go to: ``MINIMETA_CACHE``, or the user's cache folder."""
    if own := os.environ.get("MINIMETA_CACHE"):
        return Path(own).expanduser()
    import pooch  # here, since it would cost a tenth of a second at every `import minimeta`

    return Path(pooch.os_cache("minimeta"))


def data_dirs() -> list[Path]:
    """Return the folders where prepared files are looked for, first one first.

    Raises
    ------
    MinimetaError
        If ``MINIMETA_DATA`` is set but is no folder: a typing error must not start a download.
    """
    own = os.environ.get("MINIMETA_DATA")
    if not own:
        return [cache_dir()]
    folder = Path(own).expanduser()
    if not folder.is_dir():
        raise MinimetaError(
            f"the environment variable MINIMETA_DATA names '{folder}', which is not a folder; "
            "correct it or unset it."
        )
    return [folder, cache_dir()]


def find(relative: str) -> Path | None:
    """Return the first file called ``relative`` (as ``"omniglot/omniglot_105.npz"``), or None."""
    paths = (folder / relative for folder in data_dirs())
    return next((path for path in paths if path.is_file()), None)


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Keep other processes out of the cache's folder ``name``, and explain what its disk refuses.

    The lock is the operating system's own, which ends with its process however that ends: there is
    no stale lock. The process that holds it may enter again.

    Raises
    ------
    DataUnavailable
        For every ``OSError`` of the block and of the lock: a full disk, a folder that cannot be
        written, a file in its place.
    """
    import pooch
    from filelock import FileLock, Timeout

    folder = cache_dir() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", is_singleton=True)
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            pooch.get_logger().info("another process is fetching %s; waiting for it.", name)
            held = lock.acquire()
        with held:
            yield
    except OSError as error:
        raise DataUnavailable(
            f"could not write to the cache folder {folder} "
            f"({error.strerror or type(error).__name__}); make room there, set MINIMETA_CACHE to a "
            f"folder that you can write, or set MINIMETA_DATA to a folder that holds {name}."
        ) from error


def fetch(url: str, known_hash: str, *, to: str, timeout: float = 30) -> Path:
    """Download ``url`` into the cache, unless it is there already, and return its path.

    What an interrupted download leaves (``<to>.part``) is where the next one goes on. Processes
    that fetch for the same data set take turns.

    Parameters
    ----------
    url
        http or https address of one file.
    known_hash
        The file's checksum as ``"md5:..."`` or ``"sha256:..."``; any other content is refused.
    to
        Where it goes below the cache, as ``"omniglot/archives/images_background.zip"``; the first
        part is the name of the data set.
    timeout
        Seconds without an answer after which the connection counts as broken.

    Raises
    ------
    DataUnavailable
        If there is no network, the server refuses, the checksum differs or the cache cannot be
        written. An older file of this name stays as it was.
    """
    import pooch
    import requests

    target = cache_dir() / to
    part = target.with_name(f"{target.name}.part")
    pieces = False

    def bring(url: str, output_file: str, pooch: object) -> None:
        nonlocal pieces
        pieces = download(url, part, timeout=timeout)
        os.replace(part, output_file)  # pooch checks it and deletes it or gives it its name

    with alone(Path(to).parts[0]):
        for last in (False, True):
            try:
                path = pooch.retrieve(url, known_hash, target.name, target.parent, downloader=bring)
                break
            except requests.RequestException as error:
                raise DataUnavailable(_sentence(url, to, _reason(error), size(part))) from error
            except ValueError as error:
                if last or not pieces:  # pieces of two files, perhaps: once more, all of it
                    reason = f"its checksum is not {known_hash}"
                    raise DataUnavailable(_sentence(url, to, reason)) from error
    return Path(path)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write ``arrays`` to the compressed ``path`` (.npz), whole or not at all; return ``path``."""
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # no switch is named so
    return path


def _reason(error: "requests.RequestException") -> str:
    """Say in a few words why a download failed; requests' own texts run over many lines."""
    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    return f"{type(error).__name__}, is this machine online?"


def _sentence(url: str, to: str, reason: str, have: int = 0) -> str:
    name = Path(to).parts[0]
    rest = f", which goes on from {have / 1e6:.1f} MB" if have else ""
    return (
        f"could not download {to} from {url} ({reason}); get online and run "
        f"`minimeta data get {name}`{rest}, or set MINIMETA_DATA to a folder that holds {name}."
    )
