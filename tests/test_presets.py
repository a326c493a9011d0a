"""The published settings as data: every one can be built, and says where it comes from."""

import pytest
import torch

import minimeta as mm
from minimeta.networks import Conv4
from minimeta.presets import PRESETS, start


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_its_learner_and_steps(name):
    preset = PRESETS[name]
    assert preset.name == name and preset.source and preset.deviations
    learner = preset.learner()
    optimizer, schedule = preset.optimizer(learner, steps=10)
    assert len(optimizer.param_groups[0]["params"]) == len(list(learner.parameters()))
    assert (schedule is None) == (preset.schedule is None)
    tuned = preset.kind == "tuned"
    assert tuned == name.endswith("-tuned")
    if tuned:
        assert name.removesuffix("-tuned") in PRESETS  # beside the paper's


def test_the_inner_rates_are_those_of_the_mean_loss():
    # the authors' code sums over the classes: 0.4 at 5 ways and 0.1 at 20 ways are both 2.0
    rates = {n: PRESETS[f"maml-omniglot-{n}w1s"].options["inner_lr"] for n in (5, 20)}
    assert rates == {5: 5 * 0.4, 20: 20 * 0.1}
    assert PRESETS["maml-miniimagenet-5w1s"].options["inner_lr"] == 5 * 0.01


def test_networks_fit_their_data():
    for preset in PRESETS.values():
        if preset.data == "sinusoids":
            continue
        learner = preset.learner()
        network = next(m for m in learner.modules() if isinstance(m, Conv4))
        side, channels = (84, 3) if preset.data == "miniimagenet" else (28, 1)
        assert (network.size, network.channels) == (side, channels)


def test_a_seed_decides_the_start_and_nothing_else_moves():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    a, b = (start(PRESETS["protonet-omniglot-1s"], 3) for _ in range(2))
    other = start(PRESETS["protonet-omniglot-1s"], 4)
    assert torch.equal(before, torch.get_rng_state())
    first = next(iter(a.state_dict()))
    assert torch.equal(a.state_dict()[first], b.state_dict()[first])
    assert not torch.equal(a.state_dict()[first], other.state_dict()[first])


def test_a_halving_schedule_halves():
    preset = PRESETS["protonet-omniglot-5s"]
    learner = mm.ProtoNet(mm.Conv4(filters=4))
    optimizer, schedule = preset.optimizer(learner, steps=10)
    optimizer.step()
    for _ in range(2000):
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == preset.lr / 2
