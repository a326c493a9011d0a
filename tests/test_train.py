"""Training: the steps it takes, going on from a checkpoint, selection, and when it stops."""

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import minimeta as mm
from minimeta import MAML, MLP, Conv4, DivergedError, MinimetaError, ProtoNet, meta_train
from minimeta.train import _gradient


def sinusoids(split="train"):
    return mm.tasks("sinusoids", split=split, shots=5, queries=5)


def weights(learner):
    return {k: v.clone() for k, v in learner.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a) and a.keys() == b.keys()


def test_it_is_the_plain_loop():
    ours = MAML(MLP(1, 1), inner_lr=0.01)
    plain = copy.deepcopy(ours)
    record = meta_train(ours, sinusoids(), steps=4, meta_batch=3, lr=0.01, seed=7)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    losses = []
    for step in range(4):
        optimizer.zero_grad()
        loss = plain.loss(sinusoids().at(range(3 * step, 3 * step + 3), seed=7))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert record.losses == losses and same(weights(ours), weights(plain))


def test_chunks_give_the_same_gradient(images):
    learner = ProtoNet(Conv4(filters=4, size=16)).double()
    episode = mm.tasks(images, ways=3, shots=1, queries=2).at(range(5)).to(torch.float64)
    gradients = []
    for chunk in (5, 2, 1):
        loss = _gradient(learner, episode, chunk)
        gradients.append(torch.cat([p.grad.flatten() for p in learner.parameters()]))
        assert float(loss) == pytest.approx(learner.loss(episode).item(), abs=1e-10)
    assert all(torch.allclose(g, gradients[0], atol=1e-10) for g in gradients)


def run(steps, path, seed=0):
    """A run whose every part has a state: dropout, momentum, a schedule, selection."""
    torch.manual_seed(5)
    learner = MAML(nn.Sequential(MLP(1, 8), nn.Dropout(0.1), nn.Linear(8, 1)), inner_lr=0.01)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
    record = meta_train(
        learner, sinusoids(), steps=steps, meta_batch=2, optimizer=optimizer, schedule=schedule,
        val_tasks=sinusoids("val"), val_every=2, val_episodes=4, checkpoint=path, checkpoint_every=2,
        seed=seed,
    )  # fmt: skip
    return learner, optimizer, record


@pytest.mark.filterwarnings("ignore:Dropout is not safe")
def test_a_resumed_run_is_the_unbroken_run_to_the_bit(tmp_path):
    whole, optimizer, record = run(8, tmp_path / "whole.pt")
    torch.manual_seed(99)
    run(4, tmp_path / "parts.pt")
    torch.rand(3)  # whatever happens in between
    parts, optimizer_parts, record_parts = run(8, tmp_path / "parts.pt")
    assert same(weights(whole), weights(parts))
    assert record.losses == record_parts.losses and record.best_step == record_parts.best_step
    assert [s for s, _ in record_parts.val] == [2, 4, 6, 8]
    assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.01 * 0.5**2
    for a, b in zip(optimizer.state.values(), optimizer_parts.state.values(), strict=True):
        assert torch.equal(a["exp_avg"], b["exp_avg"])


def test_a_finished_run_does_nothing_more(tmp_path):
    path = tmp_path / "run.pt"
    first = MAML(MLP(1, 1), inner_lr=0.01)
    meta_train(first, sinusoids(), steps=2, checkpoint=path)
    second = MAML(MLP(1, 1), inner_lr=0.01)
    record = meta_train(second, sinusoids(), steps=2, checkpoint=path)
    assert len(record.losses) == 2 and same(weights(first), weights(second))


def test_an_interrupted_run_saves_and_says_how_to_go_on(tmp_path, capsys):
    path = tmp_path / "run.pt"

    class Impatient(MAML):
        calls = 0

        def loss(self, episode):
            self.calls += 1
            if self.calls == 4:  # as Ctrl-C does, in the middle of a step
                os.kill(os.getpid(), signal.SIGINT)
            return super().loss(episode)

    with pytest.raises(KeyboardInterrupt):
        meta_train(Impatient(MLP(1, 1), inner_lr=0.01), sinusoids(), steps=9, checkpoint=path)
    assert f"stopped after 4 steps; the same call goes on from {path}" in "".join(
        capsys.readouterr()
    )
    assert len(torch.load(path, weights_only=True)["record"]["losses"]) == 4


@pytest.mark.parametrize(
    ("given", "sentence"), [(3, "3 was given as the path of a file"), (".", "is a folder")]
)
def test_what_is_no_checkpoint_file_is_refused_before_the_first_step(given, sentence):
    with pytest.raises(MinimetaError, match=sentence):
        meta_train(MAML(MLP(1, 1), inner_lr=0.01), sinusoids(), steps=1, checkpoint=given)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    meta_train(MAML(MLP(1, 1), inner_lr=0.01), sinusoids(), steps=1, checkpoint=path)
    with pytest.raises(MinimetaError, match="belongs to another run.*seed"):
        meta_train(MAML(MLP(1, 1), inner_lr=0.01), sinusoids(), steps=2, checkpoint=path, seed=1)
    with pytest.raises(MinimetaError, match="another run.*learner"):
        meta_train(MAML(MLP(1, 1), inner_lr=0.02), sinusoids(), steps=2, checkpoint=path)
    with pytest.raises(MinimetaError, match="another run.*optimizer"):
        meta_train(MAML(MLP(1, 1), inner_lr=0.01), sinusoids(), steps=2, checkpoint=path, lr=0.1)
    with pytest.raises(MinimetaError, match="holds 1 steps but steps=0"):
        meta_train(MAML(MLP(1, 1), inner_lr=0.01), sinusoids(), steps=0, checkpoint=path)
    with pytest.raises(MinimetaError, match="belongs to another run.*weights"):
        meta_train(MAML(MLP(1, 1, (3,)), inner_lr=0.01), sinusoids(), steps=2, checkpoint=path)
    state = torch.load(path, weights_only=True)
    torch.save(state | {"format": 0}, path)
    with pytest.raises(MinimetaError, match="by another version of minimeta .format 0, not 3"):
        meta_train(MAML(MLP(1, 1), inner_lr=0.01), sinusoids(), steps=2, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(MinimetaError, match="not a minimeta checkpoint that can be read"):
        meta_train(MAML(MLP(1, 1), inner_lr=0.01), sinusoids(), steps=2, checkpoint=path)


def scheduled(path, steps, make):
    learner = MAML(MLP(1, 1, (2,)), inner_lr=0.01)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.01)
    meta_train(
        learner, sinusoids(), steps=steps, optimizer=optimizer, schedule=make(optimizer), checkpoint=path
    )  # fmt: skip
    return optimizer.param_groups[0]["lr"]


SCHEDULES = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    "make",
    [
        lambda o, n: SCHEDULES.CosineAnnealingLR(o, n),
        lambda o, n: SCHEDULES.CosineAnnealingWarmRestarts(o, n),
        lambda o, n: SCHEDULES.MultiStepLR(o, [2, n]),
        lambda o, n: SCHEDULES.OneCycleLR(o, 0.1, total_steps=n, cycle_momentum=False),
        lambda o, n: SCHEDULES.SequentialLR(
            o, [SCHEDULES.LinearLR(o, 0.1), SCHEDULES.CosineAnnealingLR(o, n)], [2]
        ),
    ],
)
def test_a_run_goes_on_under_the_schedule_it_began_with_and_no_other(make, tmp_path):
    path, whole = tmp_path / "run.pt", tmp_path / "whole.pt"
    scheduled(path, 3, lambda o: make(o, 8))
    with pytest.raises(MinimetaError, match="another run.*different: .*schedule"):
        scheduled(path, 6, lambda o: make(o, 9))
    rate = scheduled(path, 6, lambda o: make(o, 8))
    assert rate == scheduled(whole, 6, lambda o: make(o, 8)) != 0.01


def test_a_schedule_made_of_a_function_goes_on(tmp_path):
    for steps in (2, 4):
        rate = scheduled(
            tmp_path / "run.pt", steps, lambda o: SCHEDULES.LambdaLR(o, lambda s: 0.5**s)
        )
    assert rate == 0.01 * 0.5**4


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    meta_train(MAML(MLP(1, 1), inner_lr=0.01), sinusoids(), steps=1, checkpoint=path)
    old = path.read_bytes()

    def broken(state, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="no space left"):
        meta_train(MAML(MLP(1, 1), inner_lr=0.01), sinusoids(), steps=2, checkpoint=path)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


def test_the_best_weights_on_val_tasks_win():
    learner = MAML(MLP(1, 1), inner_lr=0.01)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.01)
    record = meta_train(
        learner, sinusoids(), steps=30, optimizer=optimizer, val_tasks=sinusoids("val"), val_every=3,
        val_episodes=20, seed=1,
    )  # fmt: skip
    scores = {step: result.mean for step, result in record.val}
    assert record.best_step == min(scores, key=scores.get)
    again = mm.meta_test(learner, sinusoids("val"), episodes=20, seed=1)
    assert again.mean == scores[record.best_step]


def test_training_learns():
    learner = MAML(MLP(1, 1), inner_lr=0.02)
    test = mm.tasks("sinusoids", split="test", shots=10, queries=10)
    before = mm.meta_test(learner, test, episodes=100)
    train = mm.tasks("sinusoids", shots=10, queries=10)
    meta_train(learner, train, steps=400, meta_batch=10, lr=0.005)
    gain = mm.compare(before, mm.meta_test(learner, test, episodes=100))
    assert gain.mean - gain.ci95 > 0.5


def test_clipping_bounds_the_step():
    learner = MAML(MLP(1, 1), inner_lr=0.01)
    before = torch.cat([p.flatten() for p in learner.parameters()]).detach()
    optimizer = torch.optim.SGD(learner.parameters(), lr=1.0)
    meta_train(learner, sinusoids(), steps=1, optimizer=optimizer, clip=0.01)
    after = torch.cat([p.flatten() for p in learner.parameters()]).detach()
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_no_number_stops_with_advice_and_the_last_good_weights():
    learner = MAML(MLP(1, 1), inner_lr=1e30, inner_steps=3)
    before = weights(learner)
    with pytest.raises(DivergedError, match=r"at step 1.*smaller inner_lr.*clip=10"):
        meta_train(learner, sinusoids(), steps=3)
    assert same(before, weights(learner))


class Steep(MAML):
    """A finite loss whose gradient is not."""

    def loss(self, episode):
        return super().loss(episode) + sum((p * 0).abs().sqrt().sum() for p in self.parameters())


def test_a_gradient_that_is_no_number_stops_too():
    learner = Steep(MLP(1, 1), inner_lr=0.01)
    before = weights(learner)
    with pytest.raises(DivergedError, match="the gradient's norm became nan"):
        meta_train(learner, sinusoids(), steps=3)
    assert same(before, weights(learner))


def test_parameters_left_out_of_the_optimizer_do_not_count_in_the_clipping():
    learner = MAML(MLP(1, 1), inner_lr=0.01)
    plain = copy.deepcopy(learner)
    only = list(learner.parameters())[-2:]
    optimizer = torch.optim.SGD(only, lr=1.0)
    meta_train(learner, sinusoids(), steps=3, optimizer=optimizer, clip=0.1)
    optimizer = torch.optim.SGD(list(plain.parameters())[-2:], lr=1.0)
    for step in range(3):
        plain.zero_grad()
        plain.loss(sinusoids().at(range(4 * step, 4 * step + 4))).backward()
        nn.utils.clip_grad_norm_(list(plain.parameters())[-2:], 0.1)
        optimizer.step()
    assert same(weights(learner), weights(plain))


def test_the_progress_bar_is_quiet_where_nobody_watches(capfd):
    meta_train(MAML(MLP(1, 1), inner_lr=0.01), sinusoids(), steps=2)
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(steps=-1), "steps=-1"),
        (dict(steps=1, meta_batch=0), "meta_batch=0"),
        (dict(steps=1, lr=float("nan")), "lr=nan"),
        (dict(steps=1, lr=-0.1), "lr=-0.1"),
        (dict(steps=1.5), "steps=1.5"),
        (dict(steps=1, chunk=-1), "chunk=-1"),
        (dict(steps=1, clip=-1.0), "clip=-1.0"),
        (dict(steps=1, clip=0), "clip=0"),
        (dict(steps=1, val_every=0), "val_every=0"),
        (dict(steps=1, checkpoint_every=0), "checkpoint_every=0"),
        (dict(steps=1, val_episodes=1), "val_episodes=1"),
        (dict(steps=1, val_tasks="val"), "a str was given as val_tasks; make a task source"),
        (dict(steps=1, capture="no"), "capture='no' was given; it is True, False or None"),
        (dict(steps=1, optimizer="adam"), "optimizer='adam' was given; make one"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, message):
    with pytest.raises(MinimetaError, match=message):
        meta_train(MAML(MLP(1, 1), inner_lr=0.01), sinusoids(), **arguments)


def test_contradictions_get_a_sentence():
    learner = MAML(MLP(1, 1), inner_lr=0.01)
    one, other = (torch.optim.SGD(learner.parameters(), lr=0.1) for _ in range(2))
    with pytest.raises(MinimetaError, match="both lr=0.1 and an optimizer"):
        meta_train(learner, sinusoids(), steps=1, lr=0.1, optimizer=one)
    schedule = torch.optim.lr_scheduler.StepLR(other, 1)
    with pytest.raises(MinimetaError, match="drives another optimizer"):
        meta_train(learner, sinusoids(), steps=1, optimizer=one, schedule=schedule)
    with pytest.raises(MinimetaError, match="not the learner's"):
        foreign = torch.optim.SGD(MLP(1, 1).parameters(), lr=0.1)
        meta_train(learner, sinusoids(), steps=1, optimizer=foreign)
    with pytest.raises(MinimetaError, match="a Linear was given as the learner"):
        meta_train(nn.Linear(1, 1), sinusoids(), steps=1)
    with pytest.raises(MinimetaError, match=r"make a task source with minimeta\.tasks"):
        meta_train(learner, "sinusoids", steps=1)
    with pytest.raises(MinimetaError, match="no parameters to train"):
        meta_train(ProtoNet(nn.Identity()), mm.tasks("glyphs"), steps=1)


@pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")
def test_a_run_killed_at_20_random_moments_ends_with_the_same_bits(tmp_path):
    program = Path(__file__).with_name("killed_training.py")
    run = subprocess.run(
        [sys.executable, str(program), str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert run.stderr == ""
    assert run.stdout.strip() == (
        "20 kills; same weights: True; same losses: True; files: ['end.pt', 'run.pt']"
    )


def test_the_same_objects_go_on_after_a_stop(tmp_path):
    """As when a notebook's cell is run again: the schedule has moved the optimiser's rate."""

    def stops(step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.9**step

    torch.manual_seed(3)
    learner = MAML(MLP(1, 1), inner_lr=0.01)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, stops)
    call = dict(steps=6, optimizer=optimizer, schedule=schedule, checkpoint=tmp_path / "run.pt")
    with pytest.raises(KeyboardInterrupt):
        meta_train(learner, sinusoids(), **call)
    assert len(meta_train(learner, sinusoids(), **call).losses) == 6


def test_numpys_numbers_can_be_gone_on_from(tmp_path):
    for steps in (2, 4):
        torch.manual_seed(0)
        learner = MAML(MLP(1, 1), inner_lr=np.float64(0.01))
        optimizer = torch.optim.SGD(learner.parameters(), lr=np.float64(0.01))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: np.cos(s / 20))
        record = meta_train(
            learner, sinusoids(), steps=steps, optimizer=optimizer, schedule=schedule, val_every=1,
            val_tasks=sinusoids("val"), val_episodes=2, seed=np.int64(1), checkpoint=tmp_path / "run.pt",
        )  # fmt: skip
    assert len(record.losses) == 4


def test_a_checkpoint_that_could_not_be_read_is_refused_before_the_first_step(tmp_path):
    class Warmup:
        def __init__(self):
            self.table = np.linspace(0, 1, 5)

        def __call__(self, step):
            return self.table[step]

    path = tmp_path / "run.pt"
    with pytest.raises(MinimetaError, match="cannot keep"):
        scheduled(path, 2, lambda o: SCHEDULES.LambdaLR(o, Warmup()))
    assert not path.exists()


def test_a_choice_by_function_goes_on_in_another_process(tmp_path):
    # another process has the same function at another address, as another function of this one has
    for steps, choose in ((1, lambda n: n.startswith("layers.1")), (2, lambda n: "layers.1" in n)):
        learner = MAML(MLP(1, 1), inner_lr=0.01, adapts=choose)
        record = meta_train(learner, sinusoids(), steps=steps, checkpoint=tmp_path / "run.pt")
    assert len(record.losses) == 2
    with pytest.raises(MinimetaError, match="different: adapts"):
        learner = MAML(MLP(1, 1), inner_lr=0.01, adapts=lambda n: n.startswith("layers.2"))
        meta_train(learner, sinusoids(), steps=3, checkpoint=tmp_path / "run.pt")


def test_a_diverged_run_leaves_the_running_averages_finite(images):
    learner = ProtoNet(Conv4(filters=4, size=16, bn="running"))
    with pytest.raises(DivergedError):
        meta_train(learner, mm.tasks(images, ways=3, shots=1, queries=1), steps=20, lr=1e25)
    assert all(b.isfinite().all() for b in learner.buffers())
