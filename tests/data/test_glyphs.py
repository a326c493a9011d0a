"""The embedded data set: its class list, its drawings, and that both are what the tool makes."""

import importlib.util
import subprocess
import sys
import unicodedata
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from minimeta.data import glyphs
from minimeta.errors import MinimetaError

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {
    "train": {"LATIN", "CYRILLIC"},
    "val": {"ARMENIAN"},
    "test": {"GREEK", "GEORGIAN"},
}


@pytest.fixture(scope="module")
def letters() -> list[dict[str, str]]:
    return glyphs.classes()


@pytest.fixture(scope="module")
def levels() -> np.ndarray:
    return glyphs.levels()


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    pytest.importorskip("matplotlib")
    pytest.importorskip("PIL")
    spec = importlib.util.spec_from_file_location("make_glyphs", ROOT / "tools" / "make_glyphs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_class_list_agrees_with_unicode(letters):
    for row in letters:
        assert row["codepoint"] == f"U+{ord(row['letter']):04X}"
        assert row["name"] == unicodedata.name(row["letter"])
        assert row["script"] == row["name"].split()[0]
        assert unicodedata.normalize("NFKC", row["letter"]) == row["letter"]
        assert unicodedata.category(row["letter"]) in {"Lu", "Ll", "Lt", "Lo"}


def test_splits_share_no_class_and_no_script(letters):
    assert len({row["codepoint"] for row in letters}) == len(letters)
    for split, scripts in SCRIPTS.items():
        assert {row["script"] for row in letters if row["split"] == split} == scripts
    assert {row["split"] for row in letters} == set(SCRIPTS)


@pytest.mark.parametrize("split", SCRIPTS)
def test_pool_holds_the_listed_classes_in_order(split, letters, levels):
    pool = glyphs.load(split)
    listed = [i for i, row in enumerate(letters) if row["split"] == split]
    assert pool.names == tuple(f"{letters[i]['letter']} {letters[i]['codepoint']}" for i in listed)
    assert pool.sizes.tolist() == [24] * len(listed)
    assert str(pool.items.dtype) == "torch.float32"
    assert pool.items.shape == (24 * len(listed), 1, 28, 28)
    assert pool.items.min() == 0 and pool.items.max() == 1
    drawings = (pool.items * 15).round().numpy().reshape(-1, 24, 28, 28)
    assert np.array_equal(drawings, levels[listed])


def test_there_are_as_many_drawings_as_classes(letters, levels):
    assert levels.shape == (len(letters), 24, 28, 28)
    assert levels.max() <= 15


def test_every_drawing_has_ink_on_paper(levels):
    assert (levels.max((2, 3)) > 10).all()
    assert ((levels / 15).sum((2, 3)) > 5).all()  # pixels: the saltillo has 9
    assert ((levels == 0).mean((2, 3)) > 0.3).all()


def test_no_two_drawings_are_equal(levels):
    pictures = {picture.tobytes() for picture in levels.reshape(-1, 28 * 28)}
    assert len(pictures) == levels.shape[0] * levels.shape[1]


def test_unknown_split_is_one_sentence():
    with pytest.raises(MinimetaError, match="no split 'dev'; its splits are train, val, test"):
        glyphs.load("dev")


def test_data_file_is_small_and_licensed():
    folder = ROOT / "minimeta" / "data"
    assert (folder / "glyphs.npy.xz").stat().st_size < 2_600_000
    licence = (folder / "glyphs_LICENSE.txt").read_text(encoding="utf-8")
    assert "What was\nchanged" in licence and "Bitstream Vera Fonts Copyright" in licence


def test_loading_needs_neither_matplotlib_nor_pillow():
    code = (
        "import sys; sys.modules['matplotlib'] = sys.modules['PIL'] = None; "
        "from minimeta.data import glyphs; print(len(glyphs.load('val')))"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert int(out.stdout) == len([r for r in glyphs.classes() if r["split"] == "val"])


def test_no_letter_looks_like_one_of_another_split(tool, letters):
    drawn = [tool.Letter(int(row["codepoint"][2:], 16)) for row in letters]
    ink = tool.plain(drawn)
    split = np.array([row["split"] for row in letters])
    # another FreeType may shift an edge a little: a tenth of the bar is left for that
    bar = 0.9 * tool.LOOK_ALIKE_ACROSS_SPLITS
    assert tool.ink_gap(ink[split == "test"], ink[split != "test"]).min() >= bar
    assert tool.ink_gap(ink[split == "val"], ink[split == "train"]).min() >= bar


def test_letters_that_look_alike_have_a_small_gap(tool):
    capital = tool.plain([tool.Letter(code) for code in (0x41, 0x391, 0x410, 0x416)])
    gap = tool.ink_gap(capital, capital)
    assert np.allclose(gap, gap.T, atol=1e-2)
    assert gap[:3, :3].max() < tool.LOOK_ALIKE
    assert gap[3, :3].min() > tool.LOOK_ALIKE_ACROSS_SPLITS


def test_of_two_that_look_alike_the_training_class_stays(tool):
    letters = [tool.Letter(code) for code in (0x41, 0x42, 0x391, 0x531)]  # Latin A B, Greek, Ayb
    gap = np.full((4, 4), 100.0)
    gap[0, 2] = gap[2, 0] = tool.LOOK_ALIKE_ACROSS_SPLITS - 1
    assert [a.text for a in tool.choose(letters, gap)] == ["A", "B", "\u0531"]


def test_the_tool_makes_the_shipped_drawings_again(tool, letters, levels):
    head = (ROOT / "minimeta" / "data" / "splits" / "glyphs.tsv").read_text(encoding="utf-8")
    same_versions = head.splitlines()[0].endswith(tool.made_with())
    for i in range(0, len(letters), 100):
        again = tool.draw_class(tool.Letter(int(letters[i]["codepoint"][2:], 16)))
        if same_versions:
            assert np.array_equal(again, levels[i])
        else:  # another FreeType or numpy rounds differently, but it is the same letter
            assert np.abs(again.astype(int) - levels[i]).mean() < 0.25
