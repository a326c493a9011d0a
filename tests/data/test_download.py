import hashlib
import os

import numpy as np
import pytest

from minimeta.data.download import cache_dir, data_dirs, fetch, find, save_arrays
from minimeta.errors import DataUnavailable, MinimetaError
from tests.needs import served

CONTENT = b"drawings" * 40_000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MINIMETA_DATA", raising=False)
    monkeypatch.setenv("MINIMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def address(tmp_path):
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "file.zip").write_bytes(CONTENT)
    with served(tmp_path / "public") as address:
        yield f"{address}/file.zip"


def md5(content):
    return "md5:" + hashlib.md5(content).hexdigest()


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_good_file_arrives_whole_and_alone(cache, address):
    path = fetch(address, md5(CONTENT), to="shapes/file.zip")
    assert path == cache / "shapes" / "file.zip"
    assert path.read_bytes() == CONTENT
    assert files(cache) == [path]
    assert find("shapes/file.zip") == path


def test_a_file_that_is_there_needs_no_server(cache, address):
    path = fetch(address, md5(CONTENT), to="shapes/file.zip")
    assert fetch("http://127.0.0.1:9/file.zip", md5(CONTENT), to="shapes/file.zip") == path


def test_a_wrong_checksum_is_refused_and_leaves_nothing(cache, address):
    with pytest.raises(DataUnavailable, match="its checksum is not md5:") as caught:
        fetch(address, md5(b"other"), to="shapes/file.zip")
    assert address in str(caught.value)
    assert "minimeta data get shapes" in str(caught.value)
    assert files(cache) == []


def test_a_wrong_download_does_not_replace_an_older_file(cache, address):
    old = cache / "shapes" / "file.zip"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    with pytest.raises(DataUnavailable):
        fetch(address, md5(b"other"), to="shapes/file.zip")
    assert files(cache) == [old]
    assert old.read_bytes() == b"old"


def test_a_damaged_file_of_the_cache_is_fetched_again(cache, address):
    old = cache / "shapes" / "file.zip"
    old.parent.mkdir(parents=True)
    old.write_bytes(CONTENT[:-1])
    assert fetch(address, md5(CONTENT), to="shapes/file.zip").read_bytes() == CONTENT


def test_a_server_that_is_gone_is_named_with_what_to_do(cache, tmp_path):
    with served(tmp_path) as address:
        pass
    with pytest.raises(DataUnavailable) as caught:
        fetch(f"{address}/file.zip", md5(CONTENT), to="shapes/file.zip")
    assert str(caught.value) == (
        f"could not download shapes/file.zip from {address}/file.zip (ConnectionError, is this "
        "machine online?); get online and run `minimeta data get shapes`, or set MINIMETA_DATA to "
        "a folder that holds shapes."
    )
    assert files(cache) == []


def test_a_file_that_the_server_lacks_is_told_apart_from_no_network(cache, address):
    with pytest.raises(DataUnavailable, match="the server answered 404 File not found"):
        fetch(address + ".gone", md5(CONTENT), to="shapes/file.zip")
    assert files(cache) == []


def test_a_cache_that_cannot_be_written_is_named(cache, address):
    cache.write_text("a file where the folder should be")
    with pytest.raises(DataUnavailable, match=r"could not download shapes/file.zip"):
        fetch(address, md5(CONTENT), to="shapes/file.zip")


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
