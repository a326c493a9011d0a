"""Reproducing runs on letters here: what is tested is that it resumes, selects and writes what it did."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import minimeta as mm
from minimeta import curves, reproduce
from minimeta.papertable import CELLS
from minimeta.reproduce import collect, omniglot, preset_for


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    """The embedded letters in place of Omniglot, on a network with few filters."""

    def tasks(name, *, split, ways, shots, queries=1, device="cpu", **options):
        assert name in ("omniglot", "omniglot-runs")
        return mm.tasks("glyphs", split=split, ways=ways, shots=shots, queries=min(queries, 2))

    def start(preset, seed):
        assert preset.method == "protonet"
        torch.manual_seed(seed)
        return mm.ProtoNet(mm.Conv4(filters=2, bn="running"), shared_pass=True)

    monkeypatch.setattr(reproduce, "tasks", tasks)
    monkeypatch.setattr(reproduce, "start", start)


def run(folder, **changed):
    said = []
    given = dict(cells=["protonet-5w1s"], seeds=[0], effort=2 / 6000, episodes=3) | changed
    return omniglot(folder, say=said.append, **given), said


def test_a_cell_is_trained_selected_and_tested_in_every_mode(tmp_path):
    rows, said = run(tmp_path)
    (row,) = rows
    assert (row["steps"], row["seed"], row["method"]) == (2, 0, "protonet")
    assert [t["bn"] for t in row["tests"]] == ["running", "batch", "support"]
    assert [t["own"] for t in row["tests"]] == [True, False, False]
    assert row["selected_step"] in [n for n, _ in row["val"]]
    assert all(t["tasks"].endswith("test") for t in row["tests"])
    assert "2 steps" in said[0]


def test_running_again_does_nothing_and_another_cell_uses_the_same_training(tmp_path):
    first, _ = run(tmp_path)
    again, said = run(tmp_path)
    assert again == first and said == []
    more, said = run(tmp_path, cells=["protonet-20w1s"])  # trained on 60 ways: it serves both
    assert len(more) == 1 and len(more[0]["tests"]) == 6
    assert not any("steps" in text for text in said)


def test_the_regression_curves_may_lie_in_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "STEPS", (0, 1))
    monkeypatch.setattr(curves, "RATES", (0.0,))
    say = [].append
    curves.sinusoids(tmp_path, seeds=[0], effort=1 / 12000, episodes=2, say=say)
    first, _ = run(tmp_path)
    assert len(first) == 1 and collect(tmp_path) == first
    assert len(curves.sinusoids(tmp_path, seeds=[0], effort=1 / 12000, episodes=2, say=say)) == 16


def test_a_test_that_was_cut_off_goes_on_from_the_saved_weights(tmp_path):
    (row,), _ = run(tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.write_text(json.dumps(row | {"tests": row["tests"][:1]}))
    (again,), said = run(tmp_path)
    assert again["tests"] == row["tests"] and len(said) == 2


def test_a_test_of_another_length_replaces_the_old_one(tmp_path):
    run(tmp_path)
    (row,), said = run(tmp_path, episodes=4)
    assert [t["episodes"] for t in row["tests"]] == [4, 4, 4] and len(said) == 3


def test_tests_belong_to_the_weights_they_were_made_with(tmp_path):
    (row,), _ = run(tmp_path)
    (path,) = tmp_path.glob("*.json")
    changed = row | {"tests": [t | {"mean": 0.0} for t in row["tests"]]}
    path.write_text(json.dumps(changed))
    path.with_suffix(".safetensors").unlink()
    (again,), said = run(tmp_path)  # trained again, hence tested again
    assert again["tests"] == row["tests"] and len(said) > 3
    path.with_suffix(".safetensors").write_bytes(b"other")
    with pytest.raises(mm.MinimetaError, match="is not the file that .* was written with"):
        run(tmp_path, episodes=5)


def test_two_at_one_training_do_not_lose_each_others_tests(tmp_path):
    code = "import sys; from pathlib import Path; from test_reproduce import minimal; minimal(Path(sys.argv[1]), sys.argv[2])"
    cells = ("protonet-5w1s", "protonet-20w1s")
    here = Path(__file__).parent
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), cell], cwd=here) for cell in cells
    ]  # fmt: skip
    assert [run.wait(120) for run in runs] == [0, 0]
    (row,) = collect(tmp_path)
    assert len(row["tests"]) == 6 and {t["ways"] for t in row["tests"]} == {5, 20}


def minimal(folder, cell):
    """A run in another process, which has no fixtures."""
    with pytest.MonkeyPatch.context() as patch:
        letters.__wrapped__(patch)
        run(folder, cells=[cell])


def test_other_seeds_and_efforts_are_other_files(tmp_path):
    run(tmp_path)
    rows, _ = run(tmp_path, seeds=[0, 1])
    assert [r["seed"] for r in rows] == [0, 1]
    rows, _ = run(tmp_path, effort=3 / 6000)
    assert sorted(r["steps"] for r in rows) == [2, 2, 3]


def test_lakes_runs_have_no_selection(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "MODES", {"running": ("running",)})
    rows = reproduce.lake(tmp_path, seeds=[0], effort=1 / 6000, say=lambda text: None)
    assert rows[0]["val"] == [] and rows[0]["selected_step"] is None
    assert collect(tmp_path) == rows
    run(tmp_path)
    more = reproduce.lake(tmp_path, seeds=[1], effort=1 / 6000, say=lambda text: None)
    assert [r["seed"] for r in more] == [1]  # what was asked for, not all that lies there


def test_every_cell_has_a_preset_of_both_kinds():
    for method, ways, shots in CELLS:
        for kind in ("tuned", "paper"):
            preset = preset_for(method, ways, shots, kind)
            assert ways in preset.test_ways and (preset.shots, preset.kind) == (shots, kind)
            assert not preset.options.get("first_order")


def test_refusals(tmp_path):
    with pytest.raises(
        mm.MinimetaError, match="no cell named maml-7w1s; the names are protonet-5w1s"
    ):
        run(tmp_path, cells=["maml-7w1s"])
    with pytest.raises(mm.MinimetaError, match="no fast preset"):
        preset_for("maml", 5, 1, "fast")
    with pytest.raises(mm.MinimetaError, match="at least two"):
        run(tmp_path, episodes=1)


def test_the_weights_say_what_they_are(tmp_path):
    run(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    learner = mm.load(path)
    episode = mm.tasks("glyphs", ways=5, shots=1, queries=1).at([0])
    with torch.no_grad():
        assert learner(episode).shape == (1, 5, 5)
