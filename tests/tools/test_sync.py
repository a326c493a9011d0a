"""Documents say what their sources say."""

import sync  # tools/sync.py


def test_every_copy_is_up_to_date():
    assert sync.main(check=True) == [], "run python tools/sync.py"


def test_an_old_copy_is_found_and_mended():
    text = "see https://github.com/nobody/minimeta/issues\n<!-- results: written by it -->\nold\n<!-- end of results -->"
    new = sync.synced(text)
    assert "nobody" not in new and "old\n" not in new and "/minimeta/issues" in new
    assert sync.synced(new) == new
