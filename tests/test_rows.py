"""Rows: whole or not at all, one process at a time, and never somebody else's files."""

import threading

import pytest

from minimeta import MinimetaError
from minimeta.rows import held, opened, read, read_all, write


def test_what_was_written_is_read(tmp_path):
    row = {"seed": 1, "mean": 0.5}
    write(tmp_path / "a.json", row)
    assert read(tmp_path / "a.json", ["seed"]) == row
    assert read(tmp_path / "b.json", ["seed"]) is None
    (tmp_path / "notes.json").write_text("not ours")
    assert read_all(tmp_path, "a*.json", ["seed"]) == [row]


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not readable JSON"), ("[1]", "lacks its fields"), ('{"mean": 1}', "lacks seed")],
)
def test_a_damaged_row_is_named(text, words, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(MinimetaError, match=f"a.json .*{words}|{words}.*move it away"):
        read(tmp_path / "a.json", ["seed"])


def test_a_folder_that_cannot_be_written_to_is_found_out_first(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(MinimetaError, match="results cannot be kept in"):
            opened(folder)
    assert list(opened(tmp_path / "new").iterdir()) == []
    with pytest.raises(MinimetaError, match="there is no folder"):
        read_all(tmp_path / "nowhere", "*.json", [])


def test_the_second_waits_for_the_first(tmp_path):
    path, order, waiting = tmp_path / "a.json", [], threading.Event()

    def second():
        with held(path, lambda text: waiting.set()):
            order.append("second")

    with held(path, order.append):
        other = threading.Thread(target=second)
        other.start()
        assert waiting.wait(10)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]
