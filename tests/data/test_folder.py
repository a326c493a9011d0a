"""Pictures in folders and zips: Pillow's own reading is the oracle, a zip is its folder."""

import io
import random
import time
import unicodedata
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import minimeta as mm
from minimeta.data import folder
from minimeta.errors import MinimetaError
from tests.needs import needs_data


def draw(seed: int, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> Image.Image:
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def files(names, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> dict[str, bytes]:
    return {name: encoded(draw(i, mode, size)) for i, name in enumerate(names)}


def write_folder(root: Path, contents: dict[str, bytes]) -> Path:
    for name, data in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_zip(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def same(a: mm.ClassPool, b: mm.ClassPool) -> bool:
    return torch.equal(a.items, b.items) and torch.equal(a.sizes, b.sizes) and a.names == b.names


SMALL = [
    f"{c}/{i}.png" for c, n in (("bee", 3), ("ant", 1), ("中文", 2), ("été", 2)) for i in range(n)
]
SMALL.append("ant/9.PNG")
SPLIT = ["train/ant/1.png", "train/bee/1.png", "val/cat/1.png", "test/dog/1.png", "test/dog/2.png"]
LITTER = {
    "bee/.hidden.png": b"", "bee/Thumbs.db": b"thumbs", "bee/notes.txt": b"a bee", ".git/x/1.png": b"",
    "__MACOSX/bee/._0.png": b"resource", "bee/@eaDir/0.png": b"", "lost+found/x.txt": b"", "above.png": b"no picture",
}  # fmt: skip


@pytest.fixture(params=["folder", "zip"])
def write(request, tmp_path):
    """Write files into a folder, and into a zip: every law holds for both."""
    if request.param == "zip":
        return lambda contents: write_zip(tmp_path / "mine.zip", contents)
    return lambda contents: write_folder(tmp_path / "mine", contents)


def test_pixels_are_pillows_own_in_the_order_of_names(write):
    contents = files(SMALL)
    pool = folder.load(write(contents), "all")
    assert pool.names == ("ant", "bee", "été", "中文") and pool.sizes.tolist() == [2, 3, 2, 2]
    assert pool.items.shape == (9, 3, 8, 8) and pool.items.dtype == torch.float32
    for name, item in zip(sorted(contents), pool.items, strict=True):
        own = np.asarray(Image.open(io.BytesIO(contents[name]))).transpose(2, 0, 1)
        assert np.array_equal(item.numpy(), own / np.float32(255))


def test_a_zip_is_its_folder_whatever_the_order_of_its_files(tmp_path):
    contents = files(SMALL)
    expected = folder.load(write_folder(tmp_path / "mine", contents), "all")
    for seed in range(3):
        shuffled = random.Random(seed).sample(sorted(contents), len(contents))
        archive = write_zip(tmp_path / f"{seed}.zip", {name: contents[name] for name in shuffled})
        assert same(folder.load(archive, "all"), expected)


def test_litter_and_a_folder_around_everything_change_nothing(write, tmp_path):
    contents = files(SMALL)
    plain = folder.load(write_folder(tmp_path / "plain", contents), "all")
    assert same(folder.load(write(contents | LITTER), "all"), plain)
    around = {f"my pictures/{name}": data for name, data in (contents | LITTER).items()}
    around["outside.png"] = b"no picture"
    assert same(folder.load(write_zip(tmp_path / "around.zip", around), "all"), plain)
    assert same(folder.load(write_folder(tmp_path / "around", around), "all"), plain)


def test_both_spellings_of_unicode_are_one_name(tmp_path):
    pools = []
    for form in ("NFC", "NFD"):
        names = [unicodedata.normalize(form, name) for name in SMALL]
        pools.append(folder.load(write_zip(tmp_path / f"{form}.zip", files(names)), "all"))
        pools.append(folder.load(write_folder(tmp_path / form, files(names)), "all"))
    assert all(same(pool, pools[0]) for pool in pools) and "été" in pools[0].names
    mixed = [*SMALL, unicodedata.normalize("NFD", "été/9.png")]
    pool = folder.load(write_zip(tmp_path / "mixed.zip", files(mixed)), "all")
    assert pool.sizes[pool.names.index("été")] == 3


def test_a_zip_of_utf8_names_that_are_not_marked_so_is_understood(tmp_path):
    path = write_zip(tmp_path / "mac.zip", files(["中/1.png", "é/1.png"]))
    data = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # unset the mark, as macOS does
        at = data.find(magic)
        while at >= 0:
            data[at + flags + 1] &= ~0x08
            at = data.find(magic, at + 1)
    path.write_bytes(data)
    assert folder.load(path, "all").names == ("é", "中")


def test_backslashes_separate_folders_in_a_zip(tmp_path):
    contents = files(SMALL)
    back = {name.replace("/", "\\"): data for name, data in contents.items()}
    expected = folder.load(write_folder(tmp_path / "mine", contents), "all")
    assert same(folder.load(write_zip(tmp_path / "back.zip", back), "all"), expected)


def test_of_two_files_with_one_name_in_a_zip_the_last_counts(tmp_path):
    path = write_zip(tmp_path / "twice.zip", files(["a/1.png", "a/2.png"]))
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a/1.png", encoded(draw(1)))
    pool = folder.load(path, "all")
    assert len(pool.items) == 2 and torch.equal(pool.items[0], pool.items[1])


def test_split_folders_are_the_splits(write, tmp_path):
    path = write(files(SPLIT))
    pools = {split: folder.load(path, split) for split in ("train", "val", "test")}
    assert {s: p.names for s, p in pools.items()} == {
        "train": ("ant", "bee"), "val": ("cat",), "test": ("dog",),
    }  # fmt: skip
    assert same(folder.load(path, "all"), join(pools.values()))
    around = write_zip(tmp_path / "around.zip", files([f"mine/{name}" for name in SPLIT]))
    assert same(folder.load(around, "train"), pools["train"])


def join(pools) -> mm.ClassPool:
    """All classes of the pools, in the order of their names."""
    parts = {
        name: items
        for pool in pools
        for name, items in zip(pool.names, pool.items.split(pool.sizes.tolist()), strict=True)
    }
    names = tuple(sorted(parts))
    sizes = torch.tensor([len(parts[name]) for name in names])
    return mm.ClassPool(torch.cat([parts[name] for name in names]), sizes, names)


def test_a_class_may_be_named_like_a_split(write):
    pool = folder.load(write(files(["train/1.png", "tram/1.png", "bus/1.png"])), "all")
    assert pool.names == ("bus", "train", "tram")


def test_without_split_folders_the_names_divide_the_classes(write):
    path = write(files([f"class {i}/1.png" for i in range(20)]))
    pools = {split: folder.load(path, split) for split in ("train", "val", "test")}
    assert {s: len(p) for s, p in pools.items()} == {"train": 12, "val": 4, "test": 4}
    assert {s: list(p.names) for s, p in pools.items()} == folder.divide(
        [f"class {i}" for i in range(20)]
    )
    assert same(folder.load(path, "all"), join(pools.values()))


def test_the_division_is_stable():
    names = [f"n{i:08d}" for i in range(100)]
    divided = folder.divide(names)
    assert [len(part) for part in divided.values()] == [60, 20, 20]
    assert sorted(name for part in divided.values() for name in part) == names
    assert folder.divide(random.Random(0).sample(names, 100)) == divided
    home = {name: split for split, part in divided.items() for name in part}
    for new in ("ox", "yak", "中文"):
        more = {name: s for s, part in folder.divide([*names, new]).items() for name in part}
        assert sum(more[name] != home[name] for name in names) <= 2
    assert [len(p) for p in folder.divide(list("abc")).values()] == [1, 1, 1]


def test_other_sizes_are_resized_by_lanczos_whole(write):
    contents = files(["a/1.png", "b/1.png"], size=(20, 10)) | {"b/2.png": encoded(draw(5))}
    pool = folder.load(write(contents), "all", size=8)
    for name, item in zip(sorted(contents), pool.items, strict=True):
        own = Image.open(io.BytesIO(contents[name])).resize((8, 8), Image.Resampling.LANCZOS)
        assert np.array_equal(item.numpy(), np.asarray(own).transpose(2, 0, 1) / np.float32(255))


def test_grey_pictures_have_one_channel_unless_one_of_any_split_has_colour(write):
    grey = {"train/a/1.png": encoded(draw(0, "L")), "test/b/1.png": encoded(draw(1, "L"))}
    path = write(grey)
    assert folder.load(path, "train").item_shape == (1, 8, 8)
    path = write(grey | {"val/c/1.png": encoded(draw(2))})
    train = folder.load(path, "train").items
    assert train.shape == (1, 3, 8, 8) and torch.equal(train[:, 0], train[:, 2])
    assert np.array_equal(train[0, 0].numpy(), np.asarray(draw(0, "L")) / np.float32(255))
    val = folder.load(path, "val", grey=True).items
    assert np.array_equal(val[0, 0].numpy(), np.asarray(draw(2).convert("L")) / np.float32(255))


def clear(colour) -> Image.Image:
    return Image.new("RGBA", (8, 8), colour)


def palette() -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    return image


WIDE = np.full((8, 8), 257 * 100, np.uint16)
MODES = {
    "transparent is white": (encoded(clear((9, 9, 9, 0))), (255, 255, 255)),
    "half transparent is mixed": (encoded(clear((0, 0, 0, 51))), (204, 204, 204)),
    "grey and transparent": (encoded(Image.new("LA", (8, 8), (0, 51))), (204,)),
    "one grey is transparent": (encoded(Image.new("L", (8, 8), 7), transparency=7), (255,)),
    "one colour is transparent": (
        encoded(Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3)), (255, 255, 255),
    ),
    "palette": (encoded(palette()), (0, 0, 255)),
    "palette, one entry transparent": (encoded(palette(), transparency=1), (255, 255, 255)),
    "palette, bytes of transparency": (
        encoded(palette(), transparency=bytes([255, 51])), (204, 204, 255),
    ),
    "film": (
        encoded(palette(), "GIF", save_all=True, append_images=[Image.new("L", (8, 8))]), (0, 0, 255),
    ),
    "1 bit": (encoded(Image.new("1", (8, 8), 1)), (255,)),
    "16 bit": (encoded(Image.fromarray(WIDE)), (100,)),
    "16 bit pgm": (b"P5 8 8 65535\n" + WIDE.astype(">u2").tobytes(), (100,)),
    "32 bit of 16": (encoded(Image.fromarray(WIDE.astype(np.int32)), "TIFF"), (100,)),
    "cmyk": (encoded(Image.new("CMYK", (8, 8), (0, 255, 0, 0)), "TIFF"), (255, 0, 255)),
}  # fmt: skip


@pytest.mark.parametrize("case", MODES)
def test_every_mode_becomes_grey_or_rgb(case, tmp_path):
    data, expected = MODES[case]
    pool = folder.load(write_folder(tmp_path, {"a/1.png": data}), "all")
    assert pool.items.shape == (1, len(expected), 8, 8)
    assert (pool.items[0] * 255).round().flatten(1).unique(dim=1).T.tolist() == [list(expected)]


def test_1_bit_pictures_are_resized_as_grey_ones(tmp_path):
    stripes = Image.fromarray(np.arange(64).reshape(1, 64).repeat(64, 0) % 2 == 1)
    pool = folder.load(write_folder(tmp_path, {"a/1.png": encoded(stripes)}), "all", size=8)
    assert (pool.items - 0.5).abs().max() < 0.1


def test_a_turned_camera_is_turned_back(tmp_path):
    upright, exif = draw(0, size=(8, 8)), Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    contents = {"a/1.png": encoded(turned, exif=exif), "a/2.png": encoded(upright)}
    items = folder.load(write_folder(tmp_path, contents), "all").items
    assert torch.equal(items[0], items[1])


def bad_zip(path: Path, name: str) -> Path:
    return write_zip(path / "bad.zip", {**files(["a/1.png"]), name: encoded(draw(0))})


GOOD = encoded(draw(0))
NOISE = encoded(draw(0, size=(64, 64)))
BAD = [
    ({"a/1.png": b"no picture"}, {}, r"a/1.png in \S+ cannot be read as a picture \(its bytes are no"),
    ({"a/1.png": NOISE[:2000]}, {}, r"a/1.png .*cannot be read as a picture \(.*truncated"),
    ({"a/1.png": GOOD, "b/1.png": b""}, {}, "b/1.png .*cannot be read"),
    ({"a/1.tif": encoded(Image.new("F", (8, 8), 0.5), "TIFF")}, {}, "1.tif.*mode F.*no known white"),
    ({"a/1.png": GOOD, "b/x.txt": b""}, {}, r"class folder b in \S+ holds no picture .*\.webp"),
    ({"a/1.png": GOOD, "b/c/1.png": GOOD}, {}, "b/c/1.png .*too deep; the layout is class/picture"),
    ({"1.png": GOOD}, {}, "holds no class folders with pictures; the layout is"),
    ({"x.txt": b""}, {}, "holds no class folders"),
    ({"cat/1.png": GOOD, "dog/1.png": GOOD, "dog/pug/1.png": GOOD}, {}, "dog/pug/1.png .*too deep"),
    ({"train/a/1.png": GOOD}, dict(split="val"), "no folder val with classes, only train"),
    ({"train/a/1.png": GOOD, "val/a/1.png": GOOD}, {}, "class a of .* is in train and in val; the splits"),
    ({"train/a/1.png": GOOD, "valid/b/1.png": GOOD}, {}, "pictures in valid beside the split folders"),
    ({"train/a/1.png": GOOD, "train/b/c/1.png": GOOD}, {}, "train/b/c/1.png .*too deep"),
    ({"train/a/1.png": GOOD, "val/b/x.txt": b""}, {}, "class folder val/b in .* holds no picture"),
    ({"a/1.png": GOOD, "b/1.png": GOOD}, dict(split="train"), "has 2 classes, too few to divide"),
    ({"a/1.png": GOOD}, dict(split="dev"), "split 'dev' was given; the splits are train, val, test, all"),
    ({"a/1.png": GOOD}, dict(size=0), "size=0 was given; it is a whole number"),
    ({"a/1.png": GOOD}, dict(size=28.0), "size=28.0"),
    ({"a/1.png": NOISE, "b/1.png": GOOD}, {}, r"not of one square size \(1 of 64x64, 1 of 8x8\); say size"),
    ({"a/1.png": encoded(draw(0, size=(4, 8)))}, {}, r"not of one square size \(1 of 4x8\)"),
    ({f"a/{i}.png": encoded(draw(0, "L", (4, i))) for i in range(4, 9)}, {}, "and 2 other sizes"),
    ({"a/1.png": GOOD}, dict(size=10**6), r"1 pictures of 3x1000000x1000000 need 1.1e\+04 GiB but half"),
]  # fmt: skip


@pytest.mark.parametrize("contents, arguments, message", BAD)
def test_what_cannot_be_read_gets_a_sentence(contents, arguments, message, write):
    with pytest.raises(MinimetaError, match=message) as caught:
        folder.load(write(contents), **{"split": "all", **arguments})
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "name", ["../x/1.png", "/x/1.png", "a/../../1.png", r"..\x\1.png", "C:/x/1.png"]
)
def test_a_zip_that_points_outside_itself_is_refused(name, tmp_path):
    with pytest.raises(MinimetaError, match="which points outside the zip"):
        folder.load(bad_zip(tmp_path, name), "all")


def test_what_is_neither_folder_nor_zip_gets_a_sentence(tmp_path):
    with pytest.raises(
        MinimetaError, match=r"there is no folder or zip \S+nothing; check the path"
    ):
        folder.load(tmp_path / "nothing", "all")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(MinimetaError, match="neither a folder nor a zip that can be read"):
        folder.load(tmp_path / "text.zip", "all")


def test_a_damaged_or_locked_zip_names_the_file(tmp_path):
    contents = files(["a/1.bmp", "a/2.bmp"])
    path = tmp_path / "stored.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in contents:
            archive.writestr(name, encoded(draw(0), "BMP"))
    data = path.read_bytes()
    last = data.index(b"PK\x01\x02") - 1  # a pixel of 2.bmp: Pillow would not notice
    path.write_bytes(data[:last] + bytes([data[last] ^ 255]) + data[last + 1 :])
    with pytest.raises(MinimetaError, match=r"a/2.bmp .*Bad CRC"):
        folder.load(path, "all")
    locked = bytearray(data)
    locked[data.index(b"PK\x01\x02") + 8] |= 1
    locked[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(locked)
    with pytest.raises(MinimetaError, match=r"a/1.bmp .*encrypted"):
        folder.load(path, "all")


@pytest.mark.parametrize("limit", [200, 60])  # Pillow warns above its limit, fails above twice that
def test_an_enormous_picture_gets_a_sentence_and_no_warning(limit, write, monkeypatch):
    path = write(files(["a/1.png"], size=(16, 16)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(MinimetaError, match=rf"a/1.png .*has more than {limit} pixels"):
        folder.load(path, "all")


def test_pillows_warnings_do_not_reach_the_user(tmp_path):
    data = encoded(palette(), transparency=bytes([255, 51]))
    with pytest.warns(UserWarning, match="Palette images"):
        Image.open(io.BytesIO(data)).convert("RGB")
    folder.load(write_folder(tmp_path, {"a/1.png": data}), "all")  # a warning fails the test


def test_links_to_class_folders_are_followed_and_circles_end(tmp_path):
    write_folder(tmp_path / "elsewhere", files(["1.png", "2.png"]))
    mine = write_folder(tmp_path / "mine", files(["a/1.png"]))
    (mine / "b").symlink_to(tmp_path / "elsewhere")
    assert folder.load(mine, "all").sizes.tolist() == [1, 2]
    (mine / "a" / "again").symlink_to(mine)
    with pytest.raises(MinimetaError, match="too deep"):
        folder.load(mine, "all")


@pytest.fixture(scope="module")
def caltech() -> Path:
    return needs_data("caltech101") / "caltech101_84.zip"


def test_caltech_has_its_splits(caltech):
    begin = time.perf_counter()
    pools = {split: folder.load(caltech, split) for split in ("train", "val", "test")}
    print(f"caltech101, 5,746 pictures in three splits: {time.perf_counter() - begin:.1f} s")
    assert [len(pool) for pool in pools.values()] == [64, 13, 20]
    assert sum(len(pool.items) for pool in pools.values()) == 5746
    for pool in pools.values():
        assert pool.item_shape == (3, 84, 84) and int(pool.sizes.min()) >= 31
        assert pool.items.min() >= 0 and pool.items.max() <= 1
    assert len({name for pool in pools.values() for name in pool.names}) == 97


def test_caltech_unpacked_is_the_zip(caltech, tmp_path):
    with zipfile.ZipFile(caltech) as archive:
        archive.extractall(tmp_path, [n for n in archive.namelist() if n.startswith("val/")])
    assert same(folder.load(tmp_path, "val"), folder.load(caltech, "val"))


def test_caltech_by_nearest_mean_pixels_is_as_its_makers_measured(caltech):
    tasks = mm.tasks(caltech, split="test", size=32, ways=5, shots=1, queries=15)
    result = mm.meta_test(mm.ProtoNet(nn.Flatten()), tasks, episodes=600, seed=0)
    assert 0.31 < result.mean < 0.36  # the archive's README: 0.332


def test_single_pictures_read_as_the_folder_does(tmp_path):
    root = write_folder(tmp_path, files(SMALL))
    pool = folder.load(root, "all", size=5)
    paths = [root / name for name in sorted(SMALL)]
    assert torch.equal(folder.read(paths, size=5), pool.items)
    assert folder.read([str(paths[0])], size=5, grey=True).shape == (1, 1, 5, 5)
    with pytest.raises(MinimetaError, match="none.png cannot be read as a picture"):
        folder.read([tmp_path / "none.png"], size=5)
    with pytest.raises(MinimetaError, match="at least one"):
        folder.read([], size=5)


def test_from_pictures_on_disk_to_predictions(tmp_path):
    root = write_folder(tmp_path, files([f"{c}/{i}.png" for c in ("ant", "bee") for i in range(3)]))
    known = folder.load(root, "all", size=8)
    clf = mm.FewShotClassifier().fit(known.items, known.labels)
    assert clf.predict(folder.read([root / "bee" / "1.png"], size=8)).tolist() == ["bee"]
