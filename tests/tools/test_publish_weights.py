"""Publishing trained learners: the seed that was best on val goes out, with a card that says so."""

import json

import publish_weights  # tools/publish_weights.py
import pytest

import minimeta as mm
from minimeta.presets import PRESETS

PRESET = PRESETS["protonet-omniglot-1s-tuned"]


def row(seed, val, test):
    tests = [dict(ways=5, shots=1, queries=15, episodes=9, bn="running", mean=test, ci95=0.01)]
    return {
        "preset": PRESET.name, "kind": PRESET.kind, "method": "protonet", "seed": seed, "effort": 0.5, "steps": 7,
        "meta_batch": 1, "seconds": 3.0, "device": "cpu", "threads": 1, "torch": "2", "selected_step": 5,
        "val": [[1, 0.1], [5, val]], "tests": tests,
    }  # fmt: skip


def test_the_best_on_val_goes_out_whatever_it_scored_in_the_test():
    rows = [row(0, val=0.9, test=0.99), row(1, val=0.95, test=0.90)]
    (chosen,) = publish_weights.best(rows)
    assert chosen["seed"] == 1
    assert "of 2 trainings the best" in publish_weights.card("name", chosen)["selection"]


def test_weights_and_card_arrive_together(tmp_path, monkeypatch):
    monkeypatch.setattr(publish_weights, "ROOT", tmp_path)
    monkeypatch.setattr(publish_weights, "PACKAGE", tmp_path / "pretrained")
    runs = tmp_path / "runs"
    runs.mkdir()
    stem = f"{PRESET.name}-seed1-effort0.5"
    (runs / f"{stem}.json").write_text(json.dumps(row(1, val=0.95, test=0.9)))
    learner = PRESET.learner()
    mm.save(learner, runs / f"{stem}.safetensors")
    publish_weights.main(runs)
    monkeypatch.setattr(mm.weights, "PRETRAINED", tmp_path / "pretrained")
    assert mm.weights.pretrained() == ["protonet-omniglot-5w1s"]
    card = mm.weights.card("protonet-omniglot-5w1s")
    assert card["training"]["seed"] == 1 and "val" in card["selection"]
    assert card["tests"][0]["mean"] == pytest.approx(0.9)
    assert "Lake" in card["data"] and card["licence"].startswith("MIT")
    assert isinstance(mm.load("protonet-omniglot-5w1s"), mm.ProtoNet)
