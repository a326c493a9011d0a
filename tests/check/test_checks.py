"""Every check gives wrong answers a useful hint, says when nothing was filled in, and never breaks."""

import importlib
import pkgutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import minimeta as mm
import minimeta.check
from minimeta.check.verdict import Verdict, call, check, close, expect, number, tensor
from tests.check.wrong_measuring import evaluator

MODULES = sorted(
    m.name for m in pkgutil.iter_modules(minimeta.check.__path__) if m.name != "verdict"
)
CHECKS = {
    (module, name): function
    for module in MODULES
    for name, function in vars(importlib.import_module(f"minimeta.check.{module}")).items()
    if hasattr(function, "is_check")
}
WRONG = {m: importlib.import_module(f"tests.check.wrong_{m}").WRONG for m in MODULES}
CASES = [
    pytest.param(CHECKS[m, name], answer, hint, id=f"{m}-{name}-{i}")
    for m in MODULES
    for name, answers in WRONG[m].items()
    for i, (answer, hint) in enumerate(answers)
]
NONSENSE = [
    42, -1.5, float("nan"), "a word", [], {}, (1, 2), torch.zeros(0), torch.ones(3, 4), True, object(),
    lambda: 0, lambda *a, **k: "a word", lambda *a, **k: torch.full((2,), torch.nan), lambda *a, **k: [],
    lambda *a, **k: 1 / 0, lambda *a, **k: a[0], int, torch.nn.Linear(2, 2),
]  # fmt: skip


def test_every_check_has_two_typical_wrong_answers():
    for (module, name), _ in CHECKS.items():
        assert len(WRONG[module].get(name, [])) >= 2, f"{module}.{name}"


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated"
)  # torch counts in its own way
@pytest.mark.parametrize(("function", "answer", "hint"), CASES)
def test_a_typical_wrong_answer_gets_its_hint(function, answer, hint):
    import re

    verdict = function(answer)
    assert verdict.passed is False, verdict
    assert re.search(hint, verdict.text), verdict
    assert repr(verdict).startswith("Not yet: ")


def hessian_vector(loss, theta, v):
    return torch.func.jvp(torch.func.grad(loss), (theta,), (v,))[1]


def by_differences(loss, theta, v):
    grad = torch.func.grad(loss)
    return (grad(theta + 1e-5 * v) - grad(theta - 1e-5 * v)) / 2e-5


def gradient_is_right(f, gradient, theta):
    steps = 1e-5 * np.eye(len(theta))
    expected = np.array([float(f(theta + s) - f(theta - s)) / 2e-5 for s in torch.tensor(steps)])
    return np.linalg.norm(gradient(theta).numpy() - expected) <= 1e-6 * np.linalg.norm(expected)


def ignores_order(learner, episode):
    x, y = episode.support_x, episode.support_y
    plain, same = learner(episode).numpy(), np.True_
    for shift in range(1, x.shape[1]):
        turned = mm.Episode(x.roll(shift, 1), y.roll(shift, 1), episode.query_x, episode.query_y)
        same = same & (np.abs(learner(turned).numpy() - plain).max() < 1e-4)
    return same


def convolved(weight, s, zq):
    upper, lower = weight.chunk(2, 1)
    below = F.conv2d(input=zq, weight=lower, padding=1)
    above = torch.stack([F.conv2d(m, upper, padding=1) for m in s])
    return above.unsqueeze(0) + below.unsqueeze(1)


def evaluate(checkpoints, val, test, trained_on):
    """Leaves out of the test what was selected on, too."""
    test = {name: x for name, x in test.items() if name not in val}
    return evaluator()(checkpoints, val, test, trained_on)


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated"
)  # torch counts in its own way
@pytest.mark.parametrize(
    ("module", "answer"),
    [
        ("by_hand", hessian_vector),
        ("by_hand", by_differences),
        ("by_hand", gradient_is_right),
        ("reading", ignores_order),
        ("relations", convolved),
        ("measuring", evaluate),
    ],
)
def test_another_right_answer_is_right(module, answer):
    names = {"convolved": "first_convolution", "by_differences": "hessian_vector"}
    verdict = CHECKS[module, names.get(answer.__name__, answer.__name__)](answer)
    assert verdict.passed, verdict


@pytest.mark.parametrize("function", [pytest.param(f, id="-".join(k)) for k, f in CHECKS.items()])
def test_what_is_not_filled_in_is_not_called_wrong(function):
    assert function(...).passed is None and function(None).passed is None
    for empty in (lambda *a, **k: None, lambda *a, **k: ...):
        verdict = function(empty)  # a check of a number says that a function is none
        assert verdict.passed is None or "not one number" in verdict.text


@pytest.mark.filterwarnings("ignore")  # nonsense may warn
@pytest.mark.parametrize("function", [pytest.param(f, id="-".join(k)) for k, f in CHECKS.items()])
@pytest.mark.parametrize("answer", NONSENSE, ids=lambda a: f"{type(a).__name__}")
def test_nonsense_gets_a_sentence(function, answer):
    verdict = function(answer)
    assert isinstance(verdict, Verdict) and verdict.passed is not True, verdict
    assert len(verdict.text) < 400


def test_what_the_reader_raises_is_a_hint():
    @check
    def double(answer):
        expect(number(call(answer, 2)) == 4, "no")
        return "yes"

    assert double(lambda x: 2 * x).passed
    assert "ZeroDivisionError" in double(lambda x: x / 0).text
    assert "cannot be called" in double(lambda: 4).text
    assert "not one number" in double(lambda x: "four").text
    assert double(7).passed is False


def test_a_mistake_inside_a_check_is_not_hidden():
    @check
    def broken(answer):
        return answer.missing

    with pytest.raises(AttributeError):
        broken(3)


def test_shapes_and_closeness():
    @check
    def pair(answer):
        return str(tensor(answer, (2,)).sum())

    assert pair(torch.ones(2)).passed and "shape (3,)" in pair(torch.ones(3)).text
    assert "int, not a tensor" in pair(3).text
    assert close(1.0, 1.0 + 1e-9) and not close(1.0, 1.1) and not close([1.0, 2.0], 1.0)
