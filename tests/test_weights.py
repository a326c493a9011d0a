"""Weights: what is saved comes back, and nothing else gets in."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import minimeta as mm
from minimeta import (
    MAML,
    MLP,
    R2D2,
    Conv4,
    MAMLPlusPlus,
    MatchingNet,
    MinimetaError,
    ProtoMAML,
    ProtoNet,
    RelationNet,
    Reptile,
    SetLearner,
)

LEARNERS = {
    "MAML": lambda: MAML(
        Conv4(ways=5, layout="strided", filters=8), inner_lr=0.4, test_inner_steps=3
    ),
    "MAML on sinusoids": lambda: MAML(MLP(1, 1, hidden=(8, 8)), inner_lr=0.01),
    "ProtoNet": lambda: ProtoNet(Conv4(bn="running"), distance="euclidean", shared_pass=False),
    "MAML++ on sinusoids": lambda: MAMLPlusPlus(
        MLP(1, 1, hidden=(8,)), inner_lr=0.01, multi_step=9
    ),
    "Reptile": lambda: Reptile(
        Conv4(ways=5, layout="strided", filters=8), inner_lr=0.4, test_inner_steps=3
    ),
    "ProtoMAML": lambda: ProtoMAML(Conv4(filters=8), inner_lr=0.01, first_order=True),
    "MatchingNet": lambda: MatchingNet(Conv4(bn="running"), scale=10.0, shared_pass=False),
    "R2D2": lambda: R2D2(Conv4(filters=8), penalty=2.0),
    "SetLearner on sinusoids": lambda: SetLearner(nn.Identity(), features=1, outputs=1, width=16),
    "pixels": lambda: ProtoNet(nn.Flatten()),
    "RelationNet": lambda: RelationNet(shots="mean"),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_saved_learner_comes_back_the_same(name, tmp_path):
    learner = LEARNERS[name]()
    path = mm.save(learner, tmp_path / "new folder" / "learner.safetensors")
    again = mm.load(path)
    assert type(again) is type(learner) and not again.training
    source = "sinusoids" if "sinusoids" in name else "glyphs"
    episode = mm.tasks(source, split="test").at([0])
    assert torch.equal(again(episode), learner.eval()(episode))
    assert list(path.parent.iterdir()) == [path]  # no half-written file beside it


def test_a_network_of_ones_own_is_loaded_into(tmp_path):
    class Mine(nn.Sequential):
        pass

    def make():
        return ProtoNet(Mine(nn.Flatten(), nn.Linear(784, 3)))

    learner = make()
    path = mm.save(learner, tmp_path / "mine.safetensors")
    with pytest.raises(MinimetaError, match=r"holds a .*Mine.*load\(path, learner\)"):
        mm.load(path)
    episode = mm.tasks("glyphs").at([0])
    assert torch.equal(mm.load(path, make())(episode), learner(episode))


def test_what_was_changed_after_making_is_saved(tmp_path):
    learner = MAML(MLP(1, 1), inner_lr=0.01)
    learner.inner_lr = 0.2
    learner.network.layers[0].weight.requires_grad_(False)
    again = mm.load(mm.save(learner, tmp_path / "changed.safetensors"))
    assert again.inner_lr == 0.2 and not again.network.layers[0].weight.requires_grad
    episode = mm.tasks("sinusoids").at([0])
    assert torch.equal(again(episode), learner.eval()(episode))


def test_classes_are_told_by_what_they_are_not_by_their_names(tmp_path):
    namesake = type("ProtoNet", (ProtoNet,), {})
    path = mm.save(namesake(nn.Flatten()), tmp_path / "namesake.safetensors")
    with pytest.raises(MinimetaError, match="which minimeta cannot build"):
        mm.load(path)
    odd = mm.save(ProtoNet(nn.Flatten(start_dim=2)), tmp_path / "odd.safetensors")
    with pytest.raises(MinimetaError, match="Flatten, which minimeta cannot build"):
        mm.load(odd)


def test_the_wrong_learner_is_told_apart(tmp_path):
    path = mm.save(ProtoNet(Conv4(filters=8)), tmp_path / "small.safetensors")
    with pytest.raises(MinimetaError, match="do not fit this ProtoNet"):
        mm.load(path, ProtoNet(Conv4()))


def test_what_is_no_weights_file_gets_a_sentence(tmp_path):
    with pytest.raises(MinimetaError, match="there is no file"):
        mm.load(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(MinimetaError, match="not a readable safetensors file"):
        mm.load(tmp_path / "text")
    save_file({"w": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(MinimetaError, match="says minimeta format None"):
        mm.load(tmp_path / "foreign.safetensors")
    save_file({"w": torch.zeros(1)}, tmp_path / "bare.safetensors", {"minimeta": "1"})
    with pytest.raises(MinimetaError, match="no readable description"):
        mm.load(tmp_path / "bare.safetensors")


def test_a_file_cannot_ask_for_anything_but_minimetas_classes(tmp_path):
    description = {"class": "os.system", "arguments": {"command": "echo"}}
    metadata = {"minimeta": "1", "learner": json.dumps(description), "frozen": "[]"}
    save_file({"w": torch.zeros(1)}, tmp_path / "evil.safetensors", metadata)
    with pytest.raises(MinimetaError, match="which minimeta cannot build"):
        mm.load(tmp_path / "evil.safetensors")


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(
        MinimetaError, match="no file 'nonsense' and no trained learner of that name"
    ):
        mm.load("nonsense")


def test_trained_learners_that_come_along_load_by_name_and_have_their_card():
    for name in mm.weights.pretrained():
        learner, card = mm.load(name), mm.weights.card(name)
        assert card["name"] == name and card["licence"] and card["tests"]
        ways = card["tests"][0]["ways"]
        episode = mm.tasks("glyphs", split="test", ways=ways, shots=1, queries=2).at([0])
        with torch.no_grad():
            assert learner(episode).shape == (1, 2 * ways, ways)


def test_the_wheel_stays_small():
    folder = mm.weights.PRETRAINED
    assert sum(p.stat().st_size for p in folder.glob("*.safetensors")) < 2e6
