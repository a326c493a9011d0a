"""The speedrun: the clock is the process's, and the row says what was done."""

import time

import pytest

import minimeta as mm
from minimeta import speedrun


def test_the_clock_began_before_this_module_was_imported():
    began = speedrun.process_start()
    assert began <= speedrun.IMPORTED <= time.time()
    assert time.time() - began < 24 * 3600


def test_the_row_says_what_was_done(monkeypatch):
    monkeypatch.setattr(
        speedrun, "tasks",
        lambda name, *, split="train", ways, shots, queries, device: mm.tasks(
            "glyphs", split=split, ways=ways, shots=shots, queries=2
        ),
    )  # fmt: skip
    row = speedrun.run("protonet", effort=2 / 6000, episodes=3, began=time.time())
    assert row["steps"] == 2 and 0 < row["seconds"] < 600 and row["bn"] == "running"
    other = speedrun.run("protonet", effort=2 / 6000, episodes=3, seed=7, began=time.time())
    assert (row["seed"], other["seed"], other["test_seed"]) == (0, 7, 0)
    assert row["reached"] == (100 * row["mean"] >= row["target"])
    text = speedrun.report(row)
    assert "CPU thread" in text and ("not reached" in text) != row["reached"]


def test_an_unknown_method_is_refused():
    with pytest.raises(mm.MinimetaError, match="no speedrun of 'svm'; there is protonet"):
        speedrun.run("svm")
