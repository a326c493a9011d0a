"""Downloads from a server that misbehaves, into a cache that does."""

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import numpy as np
import pooch
import pytest

from minimeta.data import transfer
from minimeta.data.download import alone, cache_dir, data_dirs, fetch, find, save_arrays
from minimeta.data.transfer import CHUNK, PAUSES, size
from minimeta.errors import DataUnavailable, MinimetaError
from tests.needs import full_disk, python, served

CONTENT = np.random.default_rng(0).bytes(2_000_000)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MINIMETA_DATA", raising=False)
    monkeypatch.setenv("MINIMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transfer, "PAUSES", [0] * len(PAUSES))
    return tmp_path / "cache"


@pytest.fixture
def server(tmp_path):
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "file.zip").write_bytes(CONTENT)
    with served(tmp_path / "public") as server:
        yield server


@pytest.fixture
def address(server):
    return f"{server.address}/file.zip"


def md5(content):
    return "md5:" + hashlib.md5(content).hexdigest()


def files(folder):
    """What lies in ``folder`` and below, without the locks, which hold nothing."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]


def refusal(*arguments, **options):
    with pytest.raises(DataUnavailable) as caught:
        fetch(*arguments, to="shapes/file.zip", **options)
    sentence = str(caught.value)
    assert sentence.count("\n") == 0 and sentence.endswith(".")
    return sentence


def test_a_good_file_arrives_whole_and_alone(cache, address):
    path = fetch(address, md5(CONTENT), to="shapes/file.zip")
    assert path == cache / "shapes" / "file.zip"
    assert path.read_bytes() == CONTENT
    assert files(cache) == [path]
    assert find("shapes/file.zip") == path


def test_others_may_read_a_file_as_far_as_the_umask_says(cache, address):
    before = os.umask(0o027)
    try:
        path = fetch(address, md5(CONTENT), to="shapes/file.zip")
        arrays = save_arrays(cache / "shapes" / "a.npz", {"x": np.arange(3)})
    finally:
        os.umask(before)
    assert [oct(file.stat().st_mode & 0o777) for file in (path, arrays)] == ["0o640", "0o640"]


def test_a_file_that_is_there_needs_no_server(cache, address):
    path = fetch(address, md5(CONTENT), to="shapes/file.zip")
    assert fetch("http://127.0.0.1:9/file.zip", md5(CONTENT), to="shapes/file.zip") == path


def test_a_wrong_checksum_is_refused_and_leaves_nothing(cache, server, address):
    sentence = refusal(address, md5(b"other"))
    assert "its checksum is not md5:" in sentence
    assert address in sentence
    assert "minimeta data get shapes" in sentence
    assert files(cache) == []
    assert len(server.answers) == 1


def test_a_wrong_download_does_not_replace_an_older_file(cache, address):
    old = cache / "shapes" / "file.zip"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    refusal(address, md5(b"other"))
    assert files(cache) == [old]
    assert old.read_bytes() == b"old"


def test_a_damaged_file_of_the_cache_is_fetched_again(cache, address):
    old = cache / "shapes" / "file.zip"
    old.parent.mkdir(parents=True)
    old.write_bytes(CONTENT[:-1])
    assert fetch(address, md5(CONTENT), to="shapes/file.zip").read_bytes() == CONTENT


def test_a_server_that_is_gone_is_named_with_what_to_do(cache, tmp_path):
    with served(tmp_path) as server:
        pass
    assert refusal(f"{server.address}/file.zip", md5(CONTENT)) == (
        f"could not download shapes/file.zip from {server.address}/file.zip (ConnectionError, is "
        "this machine online?); get online and run `minimeta data get shapes`, or set "
        "MINIMETA_DATA to a folder that holds shapes."
    )
    assert files(cache) == []


@pytest.mark.parametrize(("status", "words"), [(404, "Not Found"), (500, "Internal Server Error")])
def test_a_server_that_refuses_is_told_apart_from_no_network(cache, server, address, status, words):
    server.refusals = [status]
    assert f"(the server answered {status} {words})" in refusal(address, md5(CONTENT))
    assert files(cache) == []


def test_a_server_that_falls_silent_is_given_up(cache, server, address):
    server.pause = 2
    begin = time.monotonic()
    assert "is this machine online?" in refusal(address, md5(CONTENT), timeout=0.1)
    assert time.monotonic() - begin < 2


def test_the_next_call_goes_on_where_the_connection_broke(cache, server, address):
    server.breaks = [300_000] * (len(PAUSES) + 1)
    sentence = refusal(address, md5(CONTENT))
    have = size(cache / "shapes" / "file.zip.part")
    assert have > 300_000
    assert f"`minimeta data get shapes`, which goes on from {have / 1e6:.1f} MB, or" in sentence
    path = fetch(address, md5(CONTENT), to="shapes/file.zip")
    assert path.read_bytes() == CONTENT
    assert files(cache) == [path]
    assert server.answers[-1].range == f"bytes={have}-"
    assert server.answers[-1].sent == len(CONTENT) - have


def test_a_killed_process_is_gone_on_with(cache, server, address):
    server.pause = 0.02
    code = "from minimeta.data.download import fetch; fetch(*sys.argv[1:3], to='shapes/file.zip')"
    part = cache / "shapes" / "file.zip.part"
    with python(code, address, md5(CONTENT)) as process:
        process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        while size(part) < 5 * CHUNK and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    have = size(part)
    assert 5 * CHUNK <= have < len(CONTENT)
    server.pause = 0
    path = fetch(address, md5(CONTENT), to="shapes/file.zip")
    assert path.read_bytes() == CONTENT
    assert not part.exists()
    assert [answer.range for answer in server.answers] == ["", f"bytes={have}-"]


@pytest.mark.parametrize("old", [b"another file " * 50_000, CONTENT + b"and more", bytes(700_000)])
def test_pieces_of_two_files_are_never_glued(cache, server, address, old):
    """A part of an older file, of a longer one, or with zeros where a power cut left a hole."""
    part = cache / "shapes" / "file.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(old)
    path = fetch(address, md5(CONTENT), to="shapes/file.zip")
    assert path.read_bytes() == CONTENT
    assert files(cache) == [path]
    assert [answer.range for answer in server.answers] == [f"bytes={len(old)}-", ""]


def test_a_file_that_changes_while_it_is_fetched_is_fetched_anew(cache, server, address):
    def change():
        while not server.answers or server.answers[0].sent < 700_000:
            time.sleep(0.001)
        (server.folder / "file.zip").write_bytes(CONTENT)

    (server.folder / "file.zip").write_bytes(CONTENT[::-1])
    server.breaks, server.pause = [700_000], 0.01
    thread = threading.Thread(target=change)
    thread.start()
    assert fetch(address, md5(CONTENT), to="shapes/file.zip").read_bytes() == CONTENT
    thread.join()


def test_a_rest_that_stays_wrong_is_refused_and_leaves_nothing(cache, server, address):
    part = cache / "shapes" / "file.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    assert "its checksum is not md5:" in refusal(address, md5(b"other"))
    assert files(cache) == []
    assert [answer.status for answer in server.answers] == [206, 200]


def test_a_full_disk_is_named_and_what_arrived_is_used_later(cache, server, address):
    part = cache / "shapes" / "file.zip.part"
    full_disk(part)
    assert refusal(address, md5(CONTENT)) == (
        f"could not write to the cache folder {cache}/shapes (No space left on device); make room "
        "there, set MINIMETA_CACHE to a folder that you can write, or set MINIMETA_DATA to a "
        "folder that holds shapes."
    )
    assert files(cache) == []
    part.unlink()
    assert fetch(address, md5(CONTENT), to="shapes/file.zip").read_bytes() == CONTENT


def test_a_cache_that_is_a_file_is_named(cache, address):
    cache.write_text("a file where the folder should be")
    assert f"to the cache folder {cache}/shapes (Not a directory)" in refusal(address, md5(CONTENT))


def test_a_cache_that_cannot_be_written_is_named(cache, address, monkeypatch):
    fetch(address, md5(CONTENT), to="shapes/file.zip")  # imports what it needs, as this user
    with TemporaryDirectory() as folder:  # since others may not even look into pytest's own
        os.chmod(folder, 0o555)
        monkeypatch.setenv("MINIMETA_CACHE", folder)
        with nobody():
            sentence = refusal(address, md5(CONTENT))
    assert f"{folder}/shapes (Permission denied); make room there, set MINIMETA_CACHE" in sentence


@contextmanager
def nobody():
    """Be another user than root for a while: root may write whatever the modes of files say."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_cache_on_a_disk_that_takes_no_files_is_named(cache, address, monkeypatch):
    """Not even root's: Linux makes no folders in /sys, macOS none in /."""
    monkeypatch.setenv("MINIMETA_CACHE", "/sys/minimeta")
    assert "could not write to the cache folder /sys/minimeta/shapes (" in refusal(address, "md5:")


def test_two_at_once_download_once(cache, server, address):
    server.pause = 0.01
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(fetch, address, md5(CONTENT), to="shapes/file.zip") for _ in range(2)]
        paths = [job.result() for job in jobs]
    assert paths == [cache / "shapes" / "file.zip"] * 2
    assert [answer.sent for answer in server.answers] == [len(CONTENT)]


def test_who_must_wait_is_told_why(cache, monkeypatch):
    told = threading.Event()
    monkeypatch.setattr(pooch.get_logger(), "info", lambda *words: told.set())
    entered = []

    def other():
        with alone("shapes"):
            entered.append(True)

    thread = threading.Thread(target=other)
    with alone("shapes"), alone("shapes"):  # the holder may enter again
        thread.start()
        assert told.wait(10)
        assert not entered
    thread.join()
    assert entered


def test_the_users_own_folder_comes_before_the_cache(cache, tmp_path, monkeypatch):
    for folder in (cache, tmp_path / "own"):
        (folder / "shapes").mkdir(parents=True)
    (cache / "shapes" / "a.npz").touch()
    assert data_dirs() == [cache]
    assert find("shapes/a.npz") == cache / "shapes" / "a.npz"
    monkeypatch.setenv("MINIMETA_DATA", str(tmp_path / "own"))
    assert data_dirs() == [tmp_path / "own", cache]
    assert find("shapes/a.npz") == cache / "shapes" / "a.npz"
    (tmp_path / "own" / "shapes" / "a.npz").touch()
    assert find("shapes/a.npz") == tmp_path / "own" / "shapes" / "a.npz"
    assert find("shapes/b.npz") is None


def test_a_mistyped_folder_is_an_error_not_a_download(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIMETA_DATA", str(tmp_path / "typo"))
    with pytest.raises(MinimetaError, match=r"MINIMETA_DATA names '.*typo', which is not a folder"):
        find("shapes/a.npz")


def test_without_variables_the_cache_is_the_users_own(monkeypatch):
    monkeypatch.delenv("MINIMETA_CACHE", raising=False)
    assert cache_dir().name == "minimeta"
    assert cache_dir().is_absolute()


def test_arrays_are_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    path = save_arrays(tmp_path / "shapes" / "a.npz", {"x": np.arange(3)})
    with np.load(path) as file:
        assert file["x"].tolist() == [0, 1, 2]

    def full_disk(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_arrays(path, {"x": np.arange(4)})
    assert files(tmp_path) == [path]
    with np.load(path) as file:
        assert file["x"].tolist() == [0, 1, 2]
