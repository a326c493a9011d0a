"""What a download asks the server for, seen from the server."""

import errno
import io
import sys

import numpy as np
import pytest
import requests

from minimeta.data import transfer
from minimeta.data.transfer import CHUNK, PAUSES, download
from tests.needs import full_disk, served

# no two places alike, so that pieces in a wrong order or of another file are seen
CONTENT = np.random.default_rng(0).bytes(1_500_000)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transfer, "PAUSES", [0] * len(PAUSES))
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "file.zip").write_bytes(CONTENT)
    with served(tmp_path / "public") as server:
        yield server


@pytest.fixture
def go(server, tmp_path):
    return lambda: download(f"{server.address}/file.zip", tmp_path / "file.zip.part", timeout=5)


def test_a_file_comes_in_one_piece(server, go, tmp_path):
    assert not go()
    assert (tmp_path / "file.zip.part").read_bytes() == CONTENT
    assert [(answer.status, answer.range) for answer in server.answers] == [(200, "")]


def test_what_is_there_is_not_sent_again(server, go, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:1_000_001])
    assert go()
    assert (tmp_path / "file.zip.part").read_bytes() == CONTENT
    (answer,) = server.answers
    assert (answer.status, answer.range) == (206, "bytes=1000001-")
    assert answer.sent == len(CONTENT) - 1_000_001


def test_a_broken_connection_is_taken_up_again(server, go, tmp_path):
    server.breaks = [200_000, 300_000, 400_000]
    assert go()
    assert (tmp_path / "file.zip.part").read_bytes() == CONTENT
    assert [answer.status for answer in server.answers] == [200, 206, 206, 206]
    # a piece that broke within 64 kB is sent again, and no more than that
    twice = sum(answer.sent for answer in server.answers) - len(CONTENT)
    assert 0 <= twice < 3 * CHUNK


def test_patience_ends_and_keeps_what_arrived(server, go, tmp_path):
    server.breaks = [100_000] * 9
    with pytest.raises(requests.RequestException):
        go()
    assert len(server.answers) == len(PAUSES) + 1
    kept = (tmp_path / "file.zip.part").read_bytes()
    assert 0 < len(kept) < len(CONTENT)
    assert CONTENT.startswith(kept)


def test_a_server_without_ranges_sends_everything_again(server, go, tmp_path):
    server.ranges, server.breaks = False, [1_000_000]
    assert not go()
    assert (tmp_path / "file.zip.part").read_bytes() == CONTENT
    assert [answer.status for answer in server.answers] == [200, 200]


def test_a_whole_part_is_left_as_it_is(server, go, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(CONTENT)
    assert go()
    assert (tmp_path / "file.zip.part").read_bytes() == CONTENT
    assert [answer.status for answer in server.answers] == [416]


def test_a_server_that_refuses_is_asked_again_only_for_a_rest(server, go, tmp_path):
    server.refusals = [503, 503]
    with pytest.raises(requests.HTTPError):
        go()
    assert len(server.answers) == 1
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:1000])
    assert go()
    assert [answer.status for answer in server.answers] == [503, 503, 206]


def test_an_end_that_comes_too_early_is_a_broken_connection(go, monkeypatch):
    """Versions of urllib3 before 2 do not tell the two apart."""
    monkeypatch.setattr(requests.Response, "iter_content", lambda self, size: [b"12345"])
    with pytest.raises(requests.ConnectionError, match="20 of 1500000 bytes arrived"):
        go()


def test_a_full_disk_is_not_the_networks_fault(server, go, tmp_path):
    full_disk(tmp_path / "file.zip.part")
    with pytest.raises(OSError) as caught:
        go()
    assert caught.value.errno == errno.ENOSPC
    assert not isinstance(caught.value, requests.RequestException)
    assert len(server.answers) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_for_a_terminal(go, monkeypatch, terminal):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    go()
    assert ("file.zip: 100%" in stream.getvalue()) == terminal
    assert bool(stream.getvalue()) == terminal
