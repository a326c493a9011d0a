"""What some tests need: prepared data on this machine, or a server of their own."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


@dataclass
class Answer:
    """What a client asked for, and how much of it was sent."""

    path: str
    range: str
    status: int = 0
    sent: int = 0


class Server(ThreadingHTTPServer):
    """Serves the files of a folder on this machine, as badly as a test wants it to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.answers: list[Answer] = []  # so far, first one first
        self.ranges = True  # whether a file's rest can be asked for
        self.breaks: list[int] = []  # bytes after which the next answers break off
        self.refusals: list[int] = []  # status codes of the next answers
        self.pause = 0.0  # seconds before every 64 kB


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range", "")
        answer = Answer(self.path, asked)
        server.answers.append(answer)
        path = server.folder / self.path[1:]
        content = path.read_bytes() if path.is_file() else b""
        start = int(asked[len("bytes=") : -1]) if asked and server.ranges else 0
        answer.status = 404 if not path.is_file() else 416 if start >= len(content) else 200
        if server.refusals:
            answer.status = server.refusals.pop(0)
        if answer.status != 200:
            return self.send_error(answer.status)
        answer.status = 206 if asked and server.ranges else 200
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + server.breaks.pop(0) if server.breaks else len(content)
        for i in range(start, min(end, len(content)), 1 << 16):
            time.sleep(server.pause)
            piece = content[i : min(i + (1 << 16), end)]
            answer.sent += len(piece)  # before the client can have it and a test can ask
            try:
                self.wfile.write(piece)
            except OSError:  # the client has gone
                answer.sent -= len(piece)
                return

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    """Serve ``folder`` on this machine for the length of the block."""
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))  # looks for its end
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def full_disk(path: Path) -> None:
    """Make whatever is written to ``path`` meet a full disk: Linux has a device for that."""
    if not Path("/dev/full").is_char_device():
        skip("needs /dev/full, which Linux has")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/dev/full")


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start a process that imports minimeta, prints "ready", and runs ``code`` after a line of input."""
    wait = "import sys, minimeta; print('ready', flush=True); sys.stdin.readline()"
    return subprocess.Popen(
        [sys.executable, "-c", f"{wait}\n{code}", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
