"""A learner as plain data: what may be built from it, and nothing else."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import minimeta as mm
from minimeta import MAML, MLP, Conv4, MinimetaError, ProtoNet
from minimeta.description import describe, rebuild


def test_a_description_is_json_and_describes_what_is_built_from_it():
    learner = MAML(Conv4(ways=5, layout="strided", filters=8), inner_lr=0.4, test_inner_steps=3)
    text = json.dumps(describe(learner))
    assert json.dumps(describe(rebuild(json.loads(text)))) == text
    learner = MAML(MLP(1, 1), inner_lr=0.01)
    learner.inner_lr = 0.2  # changed after it was made
    assert rebuild(describe(learner)).inner_lr == 0.2


def test_classes_are_told_by_what_they_are_not_by_their_names(tmp_path):
    namesake = type("ProtoNet", (ProtoNet,), {})
    path = mm.save(namesake(nn.Flatten()), tmp_path / "namesake.safetensors")
    with pytest.raises(MinimetaError, match="which minimeta cannot build"):
        mm.load(path)
    odd = mm.save(ProtoNet(nn.Flatten(start_dim=2)), tmp_path / "odd.safetensors")
    with pytest.raises(MinimetaError, match="Flatten, which minimeta cannot build"):
        mm.load(odd)


def test_a_file_cannot_ask_for_anything_but_minimetas_classes(tmp_path):
    description = {"class": "os.system", "arguments": {"command": "echo"}}
    metadata = {"minimeta": "1", "learner": json.dumps(description), "frozen": "[]"}
    save_file({"w": torch.zeros(1)}, tmp_path / "evil.safetensors", metadata)
    with pytest.raises(MinimetaError, match="which minimeta cannot build"):
        mm.load(tmp_path / "evil.safetensors")
