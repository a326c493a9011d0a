"""The regression curves: the protocol at a size that runs in a second."""

import pytest
import torch

import minimeta as mm
from minimeta import curves


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(curves, "STEPS", (0, 1))
    monkeypatch.setattr(curves, "RATES", (0.0, 0.01))


def run(folder, say=lambda text: None, **changed):
    given = dict(seeds=(0, 1), effort=2 / 12000, episodes=20) | changed
    return curves.sinusoids(folder, say=say, **given)


def test_every_method_has_a_curve_of_every_number_of_steps(small, tmp_path):
    rows = run(tmp_path)
    assert len(rows) == 2 * 4 * 2
    assert {r["method"] for r in rows} == {"MAML", "FOMAML", "joint", "scratch"}
    assert all(r["mse"] > 0 and r["ci95_over_seeds"] >= 0 for r in rows)
    for row in rows:  # MAML adapts at the rate it trained with; the others at one of those tried
        may = (0.0, 0.01) if row["method"] in ("joint", "scratch") else (0.01,)
        assert len(row["rates"]) == 2 and set(row["rates"]) <= set(may)


def test_a_run_that_was_cut_off_goes_on_with_the_curves_that_are_missing(small, tmp_path):
    whole = run(tmp_path)
    done = sorted(tmp_path.glob("*.json"))
    assert len(done) == 2 * 4 * 2
    done[0].unlink()
    said = []
    assert run(tmp_path, said.append) == whole and len(said) == 1
    said.clear()
    run(tmp_path, said.append, episodes=21)  # another test: nothing of the old one is used
    assert len(said) == 16


def test_refusals(tmp_path):
    with pytest.raises(mm.MinimetaError, match="effort=nan was given"):
        run(tmp_path, effort=float("nan"))
    with pytest.raises(mm.MinimetaError, match="episodes=0 was given"):
        run(tmp_path, episodes=0)


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


def test_a_rate_too_large_to_be_scored_is_never_chosen(monkeypatch, tmp_path):
    monkeypatch.setattr(curves, "STEPS", tuple(range(4)))
    monkeypatch.setattr(curves, "RATES", (0.0, 0.01))
    plain = run(tmp_path / "a", seeds=(0,))
    monkeypatch.setattr(curves, "RATES", (0.0, 0.01, 1e9))
    assert run(tmp_path / "b", seeds=(0,)) == plain


def test_a_test_without_an_interval_is_refused_before_the_training(tmp_path):
    with pytest.raises(mm.MinimetaError, match="episodes=1 was given"):
        run(tmp_path / "a", episodes=1)
    assert not (tmp_path / "a").exists()
