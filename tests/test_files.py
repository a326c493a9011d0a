"""A file is whole or not there."""

import os
import subprocess

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


@pytest.mark.skipif(
    os.name != "posix", reason="only there is it safe to ask whether a process lives"
)
def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    orphan, ours = (tmp_path / f"file[1].pt.{pid}.part" for pid in (process.pid, os.getppid()))
    orphan.write_bytes(b"half")
    ours.write_bytes(b"somebody is still writing this")
    with replacing(tmp_path / "file[1].pt") as out:
        out.write(b"whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["file[1].pt", ours.name])


def test_a_link_stays_a_link_to_what_was_written(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
