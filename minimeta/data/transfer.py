"""One file over http: a broken connection delays it, and nothing that arrived is sent twice.

The bytes go to a file ``.part``. After a broken connection, an interruption or a kill the next
request asks only for the rest (header ``Range``, RFC 9110, section 14). Whether the pieces are of
one file is for the caller's checksum to say.
"""

import time
from pathlib import Path

PAUSES = (0.5, 1.0, 2.0)  # seconds of patience after the first broken connection, the second, ...
CHUNK = 1 << 16


def download(url: str, part: Path, *, timeout: float) -> bool:
    """Bring what lies at ``url`` into the file ``part``, going on from what it holds already.

    A connection that breaks is taken up again after each of ``PAUSES``; a server from which
    nothing ever came is not asked twice. On a terminal a bar shows the progress.

    Returns
    -------
    bool
        Whether ``part`` is made of pieces, which may be of different files if the server's has
        changed in between.

    Raises
    ------
    requests.RequestException
        If the server refuses, or breaks off more often than there are pauses; ``part`` keeps what
        arrived.
    OSError
        If the disk refuses.
    """
    from requests import RequestException  # here, for the sake of a fast `import minimeta`

    for pause in PAUSES:
        try:
            return _go_on(url, part, timeout)
        except RequestException:
            if not size(part):
                raise
        time.sleep(pause)
    return _go_on(url, part, timeout)


def size(path: Path) -> int:
    """Return the number of bytes of a file, 0 if there is none.

    >>> size(Path("no such file"))
    0
    """
    return path.stat().st_size if path.is_file() else 0


def _go_on(url: str, part: Path, timeout: float) -> bool:
    """Ask once for what ``part`` lacks; return whether that was added to something."""
    import requests
    from tqdm import tqdm

    have = size(part)
    headers = {"Accept-Encoding": "identity"}  # else a range could count compressed bytes
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as answer:
        if have and answer.status_code == 416:  # nothing lies beyond: whole, or of another file
            return True
        answer.raise_for_status()
        if answer.status_code != 206:  # a server without ranges sends everything again
            have = 0
        length = int(answer.headers.get("Content-Length", 0))
        name = part.name.removesuffix(".part")
        # disable=None: a bar is for a person who watches; in a log or a notebook it is noise
        with (
            open(part, "ab" if have else "wb") as file,
            tqdm(
                initial=have, total=have + length or None, desc=name,
                unit="B", unit_scale=True, disable=None,
            ) as bar,
        ):  # fmt: skip
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if size(part) < have + length:  # older urllib3 takes a broken connection for the end
        raise requests.ConnectionError(f"{size(part)} of {have + length} bytes arrived")
    return have > 0
