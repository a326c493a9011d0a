"""The regression curves: the protocol at a size that runs in a second."""

import pytest
import torch

import minimeta as mm
from minimeta import curves


def test_every_method_has_a_curve_of_every_number_of_steps(monkeypatch):
    monkeypatch.setattr(curves, "STEPS", (0, 1))
    monkeypatch.setattr(curves, "RATES", (0.0, 0.01))
    rows = curves.sinusoids(seeds=(0, 1), effort=2 / 12000, episodes=20, say=lambda text: None)
    assert len(rows) == 2 * 4 * 2
    assert {r["method"] for r in rows} == {"MAML", "FOMAML", "joint", "scratch"}
    assert all(r["mse"] > 0 and r["ci95_over_seeds"] >= 0 for r in rows)


def test_the_report_has_a_line_for_every_curve():
    rows = [
        {"shots": 5, "method": m, "inner_steps": j, "mse": 1.0, "ci95_over_seeds": None}
        for m in ("MAML", "joint") for j in range(11)
    ]  # fmt: skip
    lines = curves.report(rows).splitlines()
    assert len(lines) == 3 and lines[1].startswith("5   MAML")


def test_joint_training_is_plain_regression_on_all_points():
    learner = curves.Joint(mm.MLP(1, 1, hidden=(4,)), inner_lr=0.1)
    episode = mm.tasks("sinusoids", shots=3, queries=5).at(range(4))
    x = torch.cat([episode.support_x, episode.query_x], 1).flatten(0, 1)
    y = torch.cat([episode.support_y, episode.query_y], 1).flatten(0, 1)
    expected = (learner.network(x) - y).square().mean()
    assert learner.loss(episode).item() == pytest.approx(expected.item(), rel=1e-5)
