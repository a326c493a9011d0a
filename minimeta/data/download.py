"""Where data files lie on this machine, and how they get there: looked for, fetched, checked.

A data set is a folder of prepared files, such as ``omniglot/omniglot_105.npz``. It is looked for
in the folder named by the environment variable ``MINIMETA_DATA``, then in the cache. Nothing is
ever half there: a file is written under another name and renamed when it is whole and checked.

>>> find("no_such_set/nothing.npz") is None
True
"""

import os
import sys
from pathlib import Path

import numpy as np

from minimeta.errors import DataUnavailable, MinimetaError
from minimeta.files import replacing


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


def fetch(url: str, known_hash: str, *, to: str, timeout: float = 30) -> Path:
    """Download ``url`` into the cache, unless it is there already, and return its path.

    Parameters
    ----------
    url
        http or https address of one file.
    known_hash
        The file's checksum as ``"md5:..."`` or ``"sha256:..."``; any other content is refused.
    to
        Where it goes below the cache, as ``"omniglot/images_background.zip"``; the first part is
        the name of the data set.
    timeout
        Seconds without an answer after which the server counts as gone.

    Raises
    ------
    DataUnavailable
        If there is no network, the server refuses, the checksum differs or the cache cannot be
        written. The cache then holds what it held before.
    """
    import pooch

    target = cache_dir() / to
    # a bar is for a person who watches; in a log or a notebook's saved output it is noise
    get = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 16, timeout=timeout)
    try:
        # pooch writes to a temporary file of the same folder, checks it, then renames it
        path = pooch.retrieve(url, known_hash, target.name, target.parent, downloader=get)
    except OSError as error:  # requests' own errors are OSErrors, and so are those of the disk
        raise DataUnavailable(_sentence(url, to, _reason(error))) from error
    except ValueError as error:
        raise DataUnavailable(_sentence(url, to, f"its checksum is not {known_hash}")) from error
    return Path(path)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write ``arrays`` to the compressed ``path`` (.npz), whole or not at all; return ``path``."""
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # no switch is named so
    return path


def _reason(error: OSError) -> str:
    """Say in a few words why a download failed; requests' own texts run over many lines."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    if error.strerror:
        return error.strerror
    return f"{type(error).__name__}, is this machine online?"


def _sentence(url: str, to: str, reason: str) -> str:
    name = Path(to).parts[0]
    return (
        f"could not download {to} from {url} ({reason}); get online and run "
        f"`minimeta data get {name}`, or set MINIMETA_DATA to a folder that holds {name}."
    )
