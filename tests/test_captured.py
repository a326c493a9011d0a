"""Recorded steps: what a GPU replays must look at no values and give the same weights."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import minimeta as mm
from minimeta import fast
from minimeta.fast.captured import WARM_UP, Captured

# what waits for the device, or copies from the host
FORBIDDEN = {
    "aten._local_scalar_dense.default", "aten.nonzero.default", "aten.masked_select.default",
    "aten.lift_fresh.default", "aten.lift_fresh_copy.default", "aten.equal.default",
    "aten.is_nonzero.default", "aten.unique2.default", "aten._unique2.default",
}  # fmt: skip


class DeviceOnly(TorchDispatchMode):
    """Refuses what a CUDA graph cannot record."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str(func) in FORBIDDEN:
            raise RuntimeError(f"{func} cannot be recorded")
        return func(*args, **(kwargs or {}))


class Replay:
    """A graph for want of a GPU: it repeats the work under the rules of one."""

    def __init__(self, work):
        self.work = work

    def replay(self):
        with DeviceOnly():
            self.work()


class Pretend:
    """A recorder for want of a GPU."""

    def __init__(self):
        self.warmed, self.recorded = 0, 0

    def warm_up(self, work):
        self.warmed += 1
        return work()

    def record(self, work):
        self.recorded += 1
        return Replay(work)


LEARNERS = {
    "ProtoNet": lambda: mm.ProtoNet(mm.Conv4(filters=4)),
    "ProtoNet, running": lambda: mm.ProtoNet(mm.Conv4(filters=4, bn="running"), shared_pass=True),
    "RelationNet": lambda: mm.RelationNet(mm.Conv4(filters=4, layout="maps")),
    "MAML": lambda: mm.MAML(mm.Conv4(ways=3, filters=4), inner_lr=0.1, inner_steps=2),
    "MAML, any module": lambda: mm.MAML(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 3)), inner_lr=0.1
    ),
    "MatchingNet": lambda: mm.MatchingNet(mm.Conv4(filters=4)),
    "R2D2": lambda: mm.R2D2(mm.Conv4(filters=4)),
    "ANIL": lambda: mm.MAML(mm.Conv4(ways=3, filters=4), inner_lr=0.1, adapts="head"),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_replaying_gives_the_weights_of_the_plain_loop(name, monkeypatch):
    # the GPU's way: no kernels for processors
    monkeypatch.setattr(fast.Conv4Plan, "fits", staticmethod(lambda *_: False))
    torch.manual_seed(0)
    plain = LEARNERS[name]()
    twin = copy.deepcopy(plain)
    tasks = mm.tasks("glyphs", ways=3, shots=1, queries=2)
    settings = dict(steps=WARM_UP + 3, meta_batch=2, lr=0.01, clip=1.0, seed=5, progress=False)
    expected = mm.meta_train(plain, tasks, **settings)
    pretend = Pretend()
    monkeypatch.setattr("minimeta.train.recorder", lambda device: pretend)
    record = mm.meta_train(twin, tasks, **settings)
    assert (pretend.warmed, pretend.recorded) == (WARM_UP, 1)
    assert record.losses == expected.losses
    for a, b in zip(plain.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_work_that_looks_at_values_goes_on_unrecorded_and_says_so():
    x = torch.ones(())

    class Strict(Pretend):
        def record(self, work):
            with DeviceOnly():
                work()

    step = Captured(lambda: [x * float(x)], Strict())
    for _ in range(WARM_UP):
        step()
    with pytest.warns(UserWarning, match="cannot be recorded"):
        assert step()[0] == 1
    assert step()[0] == 1 and step.recorder is None


def test_a_learner_that_changes_its_step_is_not_recorded(monkeypatch):
    def recorder(device):
        raise AssertionError("recorded")

    monkeypatch.setattr("minimeta.train.recorder", recorder)
    learner = mm.MAMLPlusPlus(mm.MLP(1, 1), inner_lr=0.01, inner_steps=2)
    mm.meta_train(learner, mm.tasks("sinusoids", shots=2, queries=2), steps=5, progress=False)
    plain = mm.MAML(mm.MLP(1, 1), inner_lr=0.01)
    tasks = mm.tasks("sinusoids", shots=2, queries=2)
    mm.meta_train(plain, tasks, steps=5, capture=False, progress=False)


@pytest.mark.gpu
@pytest.mark.parametrize("name", LEARNERS)
def test_a_cuda_graph_gives_the_losses_of_the_plain_loop(name):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    tasks = mm.tasks("glyphs", ways=3, shots=1, queries=2, device="cuda")
    losses = []
    for capture in (False, None):
        torch.manual_seed(0)
        learner = LEARNERS[name]().to("cuda")
        record = mm.meta_train(
            learner, tasks, steps=WARM_UP + 10, meta_batch=2, capture=capture, progress=False
        )
        losses.append(torch.tensor(record.losses))
    assert torch.allclose(*losses, rtol=1e-3)
