"""A file is whole or not there."""

import pytest

from minimeta.files import replacing


def test_the_file_appears_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "a" / "b"
    with replacing(path) as out:
        out.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "b"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as out:
        out.write(b"half")
        raise error
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
