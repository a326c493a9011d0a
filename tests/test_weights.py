"""Weights: what is saved comes back, and nothing else gets in."""

import copy
import re

import numpy as np
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


def test_the_wrong_learner_is_told_apart(tmp_path):
    path = mm.save(ProtoNet(Conv4(filters=8)), tmp_path / "small.safetensors")
    with pytest.raises(
        MinimetaError, match="do not fit this ProtoNet: encoder.*in the file and .* here"
    ):
        mm.load(path, ProtoNet(Conv4()))


def test_what_is_no_weights_file_gets_a_sentence(tmp_path):
    with pytest.raises(MinimetaError, match="there is no file"):
        mm.load(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(MinimetaError, match="not a readable safetensors file"):
        mm.load(tmp_path / "text")
    save_file({"w": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(MinimetaError, match="was not saved by minimeta"):
        mm.load(tmp_path / "foreign.safetensors")
    save_file({"w": torch.zeros(1)}, tmp_path / "bare.safetensors", {"minimeta": "1"})
    with pytest.raises(MinimetaError, match="no readable description"):
        mm.load(tmp_path / "bare.safetensors")


def test_a_file_that_is_refused_changes_nothing(tmp_path):
    """The first tensors of both learners have the same names and shapes, the last ones do not."""
    path = mm.save(MAML(MLP(1, 1, (4, 5)), inner_lr=0.1), tmp_path / "a.safetensors")
    learner = MAML(MLP(1, 1, (4, 6)), inner_lr=0.1).double()
    before = copy.deepcopy(learner.state_dict())
    with pytest.raises(MinimetaError, match=r"layers.1.weight is of shape \(5, 4\) in the file"):
        mm.load(path, learner)
    after = learner.state_dict()
    assert all(torch.equal(after[n], t) and after[n].dtype == t.dtype for n, t in before.items())
    assert learner.training


def test_a_missing_tensor_and_one_too_many_are_named(tmp_path):
    with_bias, without = (ProtoNet(nn.Linear(2, 3, bias=b)) for b in (True, False))
    with pytest.raises(MinimetaError, match=r"encoder.bias is of shape \(3,\) .* and missing here"):
        mm.load(mm.save(with_bias, tmp_path / "with"), without)
    with pytest.raises(MinimetaError, match=r"encoder.bias is missing in the file"):
        mm.load(mm.save(without, tmp_path / "without"), with_bias)


def test_a_learner_of_another_class_is_refused_and_other_hyperparameters_are_not(tmp_path):
    proto = ProtoNet(Conv4(filters=8))
    path = mm.save(proto, tmp_path / "proto.safetensors")
    other = MatchingNet(Conv4(filters=8))
    with pytest.raises(MinimetaError, match="holds a ProtoNet but a MatchingNet was given"):
        mm.load(path, other)
    other.load_state_dict(mm.load(path).state_dict())  # what the sentence says to do
    mine = mm.load(path, ProtoNet(Conv4(filters=8), distance="euclidean"))
    assert mine.distance == "euclidean"
    assert all(torch.equal(t, mine.state_dict()[n]) for n, t in proto.state_dict().items())


def test_a_class_of_ones_own_is_the_same_when_its_module_is_called_otherwise(tmp_path):
    in_script, imported = (
        type("Mine", (ProtoNet,), {"__module__": name}) for name in ("__main__", "mine")
    )
    learner = in_script(nn.Linear(2, 3))
    path = mm.save(learner, tmp_path / "mine.safetensors")
    assert torch.equal(mm.load(path, imported(nn.Linear(2, 3))).encoder.bias, learner.encoder.bias)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("given", [None, torch.float32, torch.float64])
def test_the_floating_point_type_comes_back(dtype, given, tmp_path):
    learner = ProtoNet(Conv4(filters=4, bn="running")).to(dtype)
    path = mm.save(learner, tmp_path / "learner.safetensors")
    into = None if given is None else ProtoNet(Conv4(filters=4, bn="running")).to(given)
    again = mm.load(path, into).state_dict()
    assert all(again[n].dtype == t.dtype == dtype for n, t in learner.state_dict().items())
    assert all(torch.equal(again[n], t) for n, t in learner.state_dict().items())


def test_tied_weights_are_saved_and_stay_tied(tmp_path):
    def tied():
        first, second = nn.Linear(3, 3), nn.Linear(3, 3)
        second.weight = first.weight
        return ProtoNet(nn.Sequential(first, second))

    learner = tied()
    again = mm.load(mm.save(learner, tmp_path / "tied.safetensors"), tied()).encoder
    assert again[0].weight is again[1].weight and torch.equal(
        again[0].weight, learner.encoder[0].weight
    )


def test_layers_that_wait_for_their_first_input_take_the_shapes_of_the_file(tmp_path):
    learner = ProtoNet(nn.Linear(2, 3))
    path = mm.save(learner, tmp_path / "learner.safetensors")
    again = mm.load(path, ProtoNet(nn.LazyLinear(3)))
    assert torch.equal(again.encoder.weight, learner.encoder.weight)
    with pytest.raises(MinimetaError, match="encoder.0.weight is missing in the file"):
        mm.load(path, ProtoNet(nn.Sequential(nn.LazyLinear(3))))


def test_what_cannot_be_saved_or_loaded_gets_a_sentence(tmp_path):
    learner = ProtoNet(nn.Linear(2, 3))
    path = mm.save(learner, tmp_path / "learner.safetensors")
    folder = re.escape(str(tmp_path))
    cases = [
        (lambda: mm.save(learner, None), "None was given as the path"),
        (lambda: mm.save(learner, path, note=3), "note=3 was given; it is a text"),
        (lambda: mm.save(learner, tmp_path), f"{folder} is a folder; give the name of a file"),
        (lambda: mm.save("learner", path), "'learner' was given to save; give a learner"),
        (lambda: mm.load(None), "None was given as the path"),
        (lambda: mm.load(""), "'' was given as the path"),
        (lambda: mm.load(5), "5 was given as the path"),
        (lambda: mm.load(tmp_path), f"{folder} is a folder; give the name of a file"),
        (lambda: mm.load(path, "x"), "learner='x' was given; give a module"),
        (lambda: mm.load(path, ProtoNet), "give a module to load into"),
    ]
    for call, sentence in cases:
        with pytest.raises(MinimetaError, match=sentence) as refused:
            call()
        assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [path]


def test_files_cut_short_and_files_of_the_future_say_what_to_do(tmp_path):
    path = mm.save(ProtoNet(nn.Linear(2, 3)), tmp_path / "learner.safetensors")
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(
            MinimetaError, match=r"may be cut short, so download or save it again\.$"
        ):
            mm.load(path)
    save_file({"w": torch.zeros(1)}, path, {"minimeta": "12"})
    with pytest.raises(MinimetaError, match="made by a newer minimeta .format 12.*upgrade"):
        mm.load(path)


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(
        MinimetaError, match="no file 'nonsense' and no trained learner of that name"
    ):
        mm.load("nonsense")
    for missing in ("protonet-omniglot-5w1s.safetensors", "../x"):
        with pytest.raises(MinimetaError, match="the names are .*protonet-omniglot-5w1s"):
            mm.load(missing)


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


@pytest.mark.parametrize("adapts", ["all", "head", "body"])
@pytest.mark.parametrize("frozen", [0, 1])
@pytest.mark.parametrize("kind", [mm.MAML, mm.MAMLPlusPlus, mm.Reptile])
def test_frozen_layers_mean_the_same_after_loading(kind, frozen, adapts, tmp_path):
    network = mm.MLP(1, 1, hidden=(4,))
    network.layers[frozen].requires_grad_(False)
    options = {} if kind is mm.Reptile else {"adapts": adapts}
    learner = kind(network, inner_lr=0.1, **options).eval()
    episode = mm.tasks("sinusoids", shots=5, queries=3).at([0])
    again = mm.load(mm.save(learner, tmp_path / "a.safetensors"))
    try:
        expected = learner(episode)
    except mm.MinimetaError as error:  # all that may adapt is frozen
        with pytest.raises(mm.MinimetaError, match=str(error)[:30]):
            again(episode)
    else:
        assert torch.equal(again(episode), expected)


def test_numpys_numbers_come_back_as_numbers(tmp_path):
    learner = ProtoNet(Conv4(filters=np.int64(4)), shared_pass=np.bool_(False))
    loaded = mm.load(mm.save(learner, tmp_path / "x"))
    assert loaded.shared_pass is False and loaded.encoder.config["filters"] == 4
    maml = MAML(MLP(1, 1), inner_lr=np.float64(0.4), inner_steps=np.int64(2))
    assert mm.load(mm.save(maml, tmp_path / "y")).inner_lr == 0.4


def test_a_choice_by_function_asks_for_the_learner(tmp_path):
    learner = MAML(MLP(1, 1), inner_lr=0.1, adapts=lambda name: "layers.1" in name)
    path = mm.save(learner, tmp_path / "x")
    with pytest.raises(MinimetaError, match=r"load\(path, learner\)"):
        mm.load(path)
    assert mm.load(path, learner) is learner


def test_a_note_of_any_characters_can_be_saved(tmp_path):
    mm.save(MLP(1, 1), tmp_path / "x", note="a folder named stra\udcdfe")
    assert isinstance(mm.load(tmp_path / "x"), MLP)
