"""The way from the official archives to the prepared file, with archives made here."""

import hashlib
import io
import os
import zipfile
from functools import partial

import numpy as np
import pytest
from PIL import Image

from minimeta.data import omniglot
from minimeta.errors import DataUnavailable, MinimetaError
from tests.needs import full_disk, needs_data, python, served

NO_INK = np.zeros((105, 105), bool)


def png(ink, mode="1"):
    file = io.BytesIO()
    Image.fromarray(~ink).convert(mode).save(file, "png")
    return file.getvalue()


def archive(path, members):
    """Write a zip file of {name: content}."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


# real characters with their real ids, in the wrong order
PLACES = (
    "images_evaluation/Keble/character03/1248",
    "images_background/Hebrew/character01/0466",
    "images_background/Greek/character02/0395",
    "images_background/Greek/character01/0394",
)


@pytest.fixture
def noise():
    """Four characters by three drawers as {member: ink}; the pictures are noise."""
    rng = np.random.default_rng(0)
    members = [f"{place}_{drawer:02d}.png" for place in PLACES for drawer in (2, 1, 3)]
    return {member: rng.random((105, 105)) < 0.3 for member in members}


@pytest.fixture
def fake(noise, tmp_path):
    members = {name: png(ink) for name, ink in noise.items()}
    extra = {"images_background/": b"", "__MACOSX/images_background/._a.png": b"shadow"}
    return archive(tmp_path / "fake.zip", extra | members)


def test_prepare_orders_and_inverts(fake, noise):
    arrays = omniglot.prepare([fake], complete=False)
    assert arrays["alphabets"].tolist() == ["Greek", "Hebrew", "Keble"]
    assert arrays["alphabet"].tolist() == [0, 0, 1, 2]
    assert arrays["character"].tolist() == [1, 2, 1, 3]
    assert arrays["char_id"].tolist() == [394, 395, 466, 1248]
    assert arrays["split"].tolist() == [0, 0, 0, 1]
    assert arrays["vinyals_split"].tolist() == [0, 0, 1, 2]
    ink = np.unpackbits(arrays["images"], axis=-1)[..., :11025].reshape(4, 3, 105, 105)
    for i, place in enumerate(reversed(PLACES)):
        for drawer in (1, 2, 3):
            np.testing.assert_array_equal(ink[i, drawer - 1], noise[f"{place}_{drawer:02d}.png"])


def test_the_official_archives_must_be_complete(fake):
    with pytest.raises(MinimetaError, match=r"32448 of 32460 drawings are missing, .* drawer 1 of"):
        omniglot.prepare([fake])


PLACE = PLACES[2]
BAD = {
    "a missing drawer": ({f"{PLACE}_02.png": png(NO_INK)}, "1 of 2 drawings .* drawer 1 of Greek"),
    "another size": ({f"{PLACE}_01.png": png(NO_INK[1:])}, r"size \(105, 104\); a drawing has"),
    "another mode": ({f"{PLACE}_01.png": png(NO_INK, "L")}, "has mode L"),
    "no picture": ({f"{PLACE}_01.png": b"words"}, "is no readable png file"),
    "half a picture": ({f"{PLACE}_01.png": png(NO_INK)[:-30]}, "is no readable png file"),
    "another id": ({f"{PLACE[:-1]}9_01.png": png(NO_INK)}, "none of Omniglot's 1623 x 20 drawings"),
    "a drawer too many": ({f"{PLACE}_21.png": png(NO_INK)}, "none of Omniglot's"),
    "another place": ({f"../{PLACE}_01.png": png(NO_INK)}, "none of Omniglot's"),
    "nothing": ({}, "no drawings in"),
}


@pytest.mark.parametrize(("members", "words"), BAD.values(), ids=BAD)
def test_prepare_names_what_is_wrong(members, words, tmp_path):
    with pytest.raises(MinimetaError, match=words):
        omniglot.prepare([archive(tmp_path / "bad.zip", members)], complete=False)


def test_prepare_refuses_doubles_and_files_that_are_no_archive(fake, tmp_path):
    with pytest.raises(MinimetaError, match="is there twice"):
        omniglot.prepare([fake, fake], complete=False)
    fake.write_bytes(fake.read_bytes()[:-100])
    with pytest.raises(MinimetaError, match=r"fake.zip is no readable zip file"):
        omniglot.prepare([fake])
    with pytest.raises(MinimetaError, match=r"gone.zip is no readable zip file"):
        omniglot.prepare([tmp_path / "gone.zip"])


def test_an_excerpt_can_be_loaded_from_the_users_folder(fake, noise, tmp_path, monkeypatch):
    arrays = omniglot.prepare([fake], complete=False)
    monkeypatch.setenv("MINIMETA_DATA", str(tmp_path))
    monkeypatch.setenv("MINIMETA_CACHE", str(tmp_path / "cache"))
    path = omniglot.save_arrays(tmp_path / omniglot.FILE, arrays)
    assert omniglot.available() == path
    pool = omniglot.load("test", size=105)
    assert pool.names == tuple(
        f"Keble/character03/rot{turn}" for turn in ("000", "090", "180", "270")
    )
    assert pool.sizes.tolist() == [3, 3, 3, 3]
    quarter = np.rot90(noise[f"{PLACES[0]}_01.png"])
    np.testing.assert_array_equal(pool.items[3, 0].numpy(), quarter)
    with pytest.raises(MinimetaError, match="lacks some of Lake's runs"):
        omniglot.lake_runs()


@pytest.fixture
def source(fake, tmp_path, monkeypatch):
    """A server of the fake archive, an empty cache, and `omniglot` told of both."""
    monkeypatch.delenv("MINIMETA_DATA", raising=False)
    monkeypatch.setenv("MINIMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(omniglot, "prepare", partial(omniglot.prepare, complete=False))
    with served(tmp_path) as server:
        address = f"{server.address}/fake.zip"
        monkeypatch.setattr(omniglot, "ARCHIVES", {address: md5(fake)})
        yield server


def md5(path):
    return "md5:" + hashlib.md5(path.read_bytes()).hexdigest()


def test_the_cache_ends_up_with_the_prepared_file_alone(source, tmp_path):
    path = omniglot.get()
    assert path == omniglot.available() == tmp_path / "cache" / omniglot.FILE
    assert {file.name for file in path.parent.iterdir()} == {path.name, ".lock"}
    assert len(omniglot.load("test")) == 4
    assert omniglot.get() == path
    assert len(source.answers) == 1


def test_a_disk_that_fills_up_while_preparing_leaves_the_archives(source, tmp_path):
    path = tmp_path / "cache" / omniglot.FILE
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    full_disk(part)
    with pytest.raises(DataUnavailable, match=r"\(No space left on device\); make room there"):
        omniglot.get()
    assert not path.exists() and not part.is_symlink()
    assert omniglot.get() == path
    assert len(source.answers) == 1


TWO = """
from functools import partial
from minimeta.data import omniglot
omniglot.ARCHIVES = {sys.argv[1]: sys.argv[2]}
omniglot.prepare = partial(omniglot.prepare, complete=False)
print(omniglot.get(), len(omniglot.load("test")))
"""


def test_two_processes_at_once_prepare_once(source, fake, tmp_path):
    source.pause = 1
    address = f"{source.address}/fake.zip"
    with python(TWO, address, md5(fake)) as one, python(TWO, address, md5(fake)) as other:
        for process in (one, other):
            process.stdout.readline()
        for process in (one, other):
            process.stdin.write("\n")
            process.stdin.flush()
        for process in (one, other):
            assert process.communicate()[0] == f"{tmp_path / 'cache' / omniglot.FILE} 4\n"
    assert [answer.sent for answer in source.answers] == [fake.stat().st_size]


def test_damage_is_never_read_over(source):
    """Wherever a bit flips, the file is refused or reads the same (some bits say nothing)."""
    path = omniglot.get()
    good, whole = omniglot._read(), path.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for place in rng.choice(len(whole), 400, replace=False):
        content = bytearray(whole)
        content[place] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            read = omniglot._read()
        except DataUnavailable as error:
            refused += 1
            assert str(error).startswith(f"{path} is damaged") and str(error).count("\n") == 0
            assert str(error).endswith("delete it and run `minimeta data get omniglot`.")
        else:
            assert list(read) == list(good)
            assert all((read[name] == good[name]).all() for name in good)
    assert refused > 300
    for length in (0, 1, 1000, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataUnavailable, match="is damaged"):
            omniglot.load("test")


@pytest.mark.slow
def test_the_whole_way_gives_the_prepared_copy(tmp_path, monkeypatch):
    """Archives of the official layout, made from the prepared copy, fetched and prepared again."""
    with np.load(needs_data("omniglot") / "omniglot_105.npz") as file:
        copy = dict(file)
    members = {"background": {}, "evaluation": {}}
    for (i, drawer), _ in np.ndenumerate(copy["images"][..., 0]):
        name = ("background", "evaluation")[copy["split"][i]]
        ink = np.unpackbits(copy["images"][i, drawer], count=105 * 105).reshape(105, 105) > 0
        place = f"{copy['alphabets'][copy['alphabet'][i]]}/character{copy['character'][i]:02d}"
        file = f"{copy['char_id'][i]:04d}_{drawer + 1:02d}.png"
        members[name][f"images_{name}/{place}/{file}"] = png(ink)
    sources = {}
    monkeypatch.delenv("MINIMETA_DATA")
    monkeypatch.setenv("MINIMETA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(omniglot, "ARCHIVES", sources)
    with served(tmp_path) as server:
        for name, drawings in members.items():
            path = archive(tmp_path / f"images_{name}.zip", drawings)
            sources[f"{server.address}/{path.name}"] = md5(path)
        server.breaks = [1_000_000, 2_000_000]
        path = omniglot.get()
    assert [answer.status for answer in server.answers] == [200, 206, 206, 200]
    assert path == omniglot.available() == tmp_path / "cache" / "omniglot" / "omniglot_105.npz"
    with np.load(path) as file:
        arrays = dict(file)
    assert list(arrays) == list(copy)
    for name, array in arrays.items():
        assert array.dtype == copy[name].dtype, name
        np.testing.assert_array_equal(array, copy[name], err_msg=name)
