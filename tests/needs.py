"""What some tests need: prepared data on this machine, or a server of their own."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn

import pytest


def skip(reason: str) -> NoReturn:
    """Skip the test and say why; with MINIMETA_NO_SKIPS=1 fail, so that nothing passes by skipping."""
    if os.environ.get("MINIMETA_NO_SKIPS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def needs_data(name: str) -> Path:
    """Return the folder of data set ``name`` in MINIMETA_DATA; skip the test if it is not there."""
    folder = os.environ.get("MINIMETA_DATA")
    if folder and (path := Path(folder).expanduser() / name).is_dir():
        return path
    skip(f"needs the data set {name}: set MINIMETA_DATA to a folder that holds {name}/")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve ``folder`` on this machine for the length of the block; gives the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))  # looks for its end
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
