"""Checks of the exercises in "Measuring honestly"."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from minimeta.check.verdict import Hint, call, check, close, expect, number

T2 = 4.302652729696142  # Student's t, two degrees of freedom, 97.5 %


def _numbers(result: Any, count: int, what: str) -> list[float]:
    """Return the reader's ``count`` numbers, from any tuple, list or tensor."""
    wrong = f"{what} were expected, {count} numbers in this order."
    expect(isinstance(result, Tensor | Iterable) and not isinstance(result, str | dict), wrong)
    try:
        values = list(result)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Hint(wrong) from error
    expect(len(values) == count, wrong)
    return [number(v, f"number {i + 1} of your result") for i, v in enumerate(values)]


@check
def seed_interval(answer: Any) -> str:
    """Half-width of the 95 % interval of the mean of 0.70, 0.72 and 0.71, three training seeds.

    >>> seed_interval(0.0113)
    Not yet: three numbers were taken for many: with n = 3 the factor is Student's 4.30, not 1.96.
    """
    got, sd = number(answer), 0.01
    right = T2 * sd / math.sqrt(3)
    hints = {
        1.96 * sd / math.sqrt(3): "three numbers were taken for many: with n = 3 the factor is "
        "Student's 4.30, not 1.96.",
        T2 * sd: "that is 4.30 times the sd of one seed; the mean of three has sd/√3.",
        T2
        * sd
        * math.sqrt(2 / 3)
        / math.sqrt(3): "the sd was divided by n = 3; one degree of freedom "
        "went into the mean, so divide the sum of squares by n - 1 = 2.",
        2 * right: "that is the whole width; what stands after ± is half of it.",
        100 * right: "that is in points; the accuracies, and so the answer, are fractions of 1.",
        sd: "that is the sd over seeds; the half-width of the mean is 4.30·sd/√3.",
    }
    for value, hint in hints.items():
        expect(not close(got / value, 1, 0.01), hint)
    expect(
        close(got / right, 1, 0.01),
        f"{got:.4f} is not 4.30·sd/√n; the deviations from the mean are -0.01, +0.01 and 0.",
    )
    return "4.30 · 0.01/√3: more than twice what 1.96 would have claimed."


@check
def paired(answer: Callable[[Tensor, Tensor], Any]) -> str:
    """Mean and half-width of the paired difference of two lists of episode accuracies.

    >>> paired(lambda a, b: (0.0, 0.0))
    Not yet: the mean of a - b was expected first: 0.0087, not 0.0000.
    """
    generator = torch.Generator().manual_seed(0)
    for n in (12, 50):
        task, own = torch.rand(2, n, generator=generator, dtype=torch.float64)
        a, b = 0.4 + 0.4 * task, 0.4 + 0.3 * task + 0.1 * own
        result = call(answer, a.clone(), b.clone())
        mean, half = _numbers(result, 2, "the mean difference and the half-width")
        d = a - b
        expect(
            not close(mean, float(-d.mean())),
            "that is b - a; the sign says who is ahead: take a - b.",
        )
        expect(
            close(mean, float(d.mean())),
            f"the mean of a - b was expected first: {float(d.mean()):.4f}, not {mean:.4f}.",
        )
        right = 1.96 * float(d.std()) / math.sqrt(n)
        sum_of_variances = 1.96 * math.sqrt(float(a.var() + b.var()) / n)
        sum_of_widths = 1.96 * float(a.std() + b.std()) / math.sqrt(n)
        expect(
            not close(half, sum_of_variances) and not close(half, sum_of_widths),
            "that is an interval for two separate sets of episodes; here both learners saw the same "
            "ones: take the sd of the differences a - b.",
        )
        expect(
            not close(half, right * math.sqrt(n)), "divide by √n: it is the mean that is judged."
        )
        expect(not close(half, 2 * right), "that is the whole width; ± wants half of it.")
        expect(
            not close(half, right * math.sqrt((n - 1) / n)),
            "the variance was divided by n; divide by n - 1 (torch's default).",
        )
        expect(
            close(half, right),
            f"the half-width 1.96·sd/√n is {right:.4f} here, and {half:.4f} came.",
        )
    return "the sd of the differences is what counts: what both find hard is gone."


@check
def episodes_needed(answer: Callable[[float, float, float, float], int]) -> str:
    """How many common episodes bring the paired half-width down to a target.

    >>> episodes_needed(lambda sd_a, sd_b, correlation, target: 600)
    Not yet: for sds 10 and 10, correlation 0.5 and target 1.0 you say 600; 385 is the smallest number.
    """
    for a, b, r, target in ((10.0, 10.0, 0.5, 1.0), (12.0, 9.0, 0.5, 0.4), (0.1, 0.12, 0.0, 0.01)):
        got = number(call(answer, a, b, r, target), "episodes_needed")
        variance = a * a + b * b - 2 * r * a * b
        right = math.ceil(1.96**2 * variance / target**2)
        case = f"for sds {a:g} and {b:g}, correlation {r:g} and target {target}"
        expect(
            not math.isfinite(got) or abs(got - right) >= 1 or got == right,
            f"{case} you say {got:.10g}: a number of episodes is whole, and the smallest that is enough "
            "is rounded up.",
        )
        expect(
            got != right - 1,
            f"{case} you say {got:.0f}, one too few: round up, or the target is just missed.",
        )
        hints = {
            1.96**2
            * (a * a + b * b)
            / target**2: "the covariance is missing: both learners see the "
            "same episodes, so 2·correlation·sd_a·sd_b comes off.",
            1.96**2
            * (a * a + b * b + 2 * r * a * b)
            / target**2: "the covariance is taken off in a difference, and you added it.",
            1.96
            * math.sqrt(variance)
            / target: "the half-width falls with √n, so this must be squared.",
            variance / target**2: "the factor 1.96 is missing: the target is the 95 % half-width.",
            (2 * 1.96) ** 2
            * variance
            / target**2: "the target is the half-width, not the whole width.",
        }
        for value, hint in hints.items():
            # where two formulas agree, as without a correlation, the right one has the say
            same = math.isfinite(got) and abs(got - value) <= 1
            expect(got == right or not same, f"{case} you say {got:.0f}: {hint}")
        expect(got == right, f"{case} you say {got:.0f}; {right} is the smallest number.")
    return "n grows with the square of what you want to resolve, and pairing pays."


@check
def best_of_two(answer: Any) -> str:
    """The expected larger of two independent standard normal numbers.

    >>> best_of_two(0)
    Not yet: each has mean 0, but the larger of the two is above 0 more often than below.
    """
    got = number(answer)
    expect(
        abs(got) > 1e-6,
        "each has mean 0, but the larger of the two is above 0 more often than below.",
    )
    hints = {
        math.sqrt(2 * math.log(2)): "that is the bound √(2 ln 2); the exact value is smaller.",
        2
        / math.sqrt(
            math.pi
        ): "that is E|Z₁ - Z₂|, the distance of the two; the maximum is their mean "
        "plus half of it.",
        math.sqrt(2 / math.pi): "that is E|Z| for sd 1; the difference of two has sd √2.",
        math.sqrt(
            1 / (2 * math.pi)
        ): "that is half of E|Z| for sd 1; the difference of two has sd √2.",
    }
    for value, hint in hints.items():
        expect(not close(got, value, 0.004), hint)
    expect(
        close(got, 1 / math.sqrt(math.pi), 0.004),
        f"{got:.3f} is not it; write the maximum as (Z₁ + Z₂)/2 + |Z₁ - Z₂|/2.",
    )
    return "1/√π: two equal checkpoints, and the reported one is 0.56 sd too good."


@check
def variance_split(answer: Callable[[Tensor], Any]) -> str:
    """Variances of class split, training seed and episodes from scores (splits, seeds, episodes).

    >>> variance_split(lambda scores: (0.0, 0.0))
    Not yet: the variances of split, seed and episode were expected, 3 numbers in this order.
    """
    generator = torch.Generator().manual_seed(3)
    for c, s, n in ((4, 3, 6), (6, 5, 10)):
        sizes = ((c, 1, 1), (c, s, 1), (c, s, n))
        parts = [torch.randn(z, generator=generator, dtype=torch.float64) for z in sizes]
        scores = 70 + 4 * parts[0] + 3 * parts[1] + 5 * parts[2]
        result = call(answer, scores.clone())
        split, seed, episode = _numbers(result, 3, "the variances of split, seed and episode")
        means = scores.mean(2)
        cells, within = float(means.var(1).mean()), float(scores.var(2).mean())
        right = float(means.mean(1).var()) - cells / s, cells - within / n, within
        expect(
            not all(close(g * g, r) for g, r in zip((split, seed, episode), right, strict=True)),
            "these are standard deviations; variances add up, so return those.",
        )
        expect(
            not (close(split, right[2]) and close(episode, right[0])),
            "the order is split, seed, episode.",
        )
        _check_episode(episode, scores, within)
        expect(
            not close(seed, cells),
            "the variance of the means over seeds still holds the episodes' share: take off the "
            "episode variance divided by n.",
        )
        expect(
            not close(seed, float(means.var())),
            "the seed's variance is that of the learners within one split; average it over splits.",
        )
        expect(
            close(seed, right[1]),
            f"the seed's variance is {right[1]:.3f} here, and {seed:.3f} came back.",
        )
        expect(
            not close(split, float(means.mean(1).var())),
            "the splits' means still hold the spread of their few learners: take off the variance of "
            "the means within a split, divided by the number of seeds.",
        )
        expect(
            not close(split, float(means.mean(1).var()) - right[1] / s),
            "the spread of a split's learners that comes off is all of it, the episodes' share "
            "included.",
        )
        expect(
            close(split, right[0]),
            f"the split's variance is {right[0]:.3f} here, and {split:.3f} came back.",
        )
    return "each level's variance, freed of what the levels below put into its means."


def _check_episode(episode: float, scores: Tensor, within: float) -> None:
    expect(
        not close(episode, float(scores.var())),
        "the episode's variance is that within one learner; yours is over all scores at once.",
    )
    expect(
        not close(episode, float(scores.var(2, correction=0).mean())),
        "divide by n - 1, as torch's var does by default: the mean was estimated too.",
    )
    expect(
        close(episode, within),
        f"the episode's variance is {within:.3f} here, and {episode:.3f} came back.",
    )


def _clusters(names: Iterable[str], generator: torch.Generator) -> dict[str, Tensor]:
    """Ten examples a class, near a corner of their own."""
    corners = 10 * torch.eye(32)
    return {
        name: corners[i] + 0.1 * torch.randn(10, 32, generator=generator)
        for i, name in enumerate(names)
    }


def _noise(names: Iterable[str], generator: torch.Generator) -> dict[str, Tensor]:
    """Ten examples a class that have nothing in common."""
    return {name: torch.randn(10, 32, generator=generator) for name in names}


@check
def evaluate(answer: Callable[..., float]) -> str:
    """An evaluation without its three leaks, tried on planted data.

    >>> evaluate(lambda checkpoints, val, test, trained_on, episodes=200, seed=0: 0.0)
    Not yet: a perfect checkpoint on new classes scored 0.00; it must score 1.
    """
    g = torch.Generator().manual_seed(0)
    # many classes: what is measured on noise is then close to the chance level
    old, new, other = ([f"{word}{i}" for i in range(20)] for word in ("old", "new", "val"))

    def score(
        checkpoints: list[Callable[[Tensor], Tensor]],
        val: dict[str, Tensor],
        test: dict[str, Tensor],
    ) -> float:
        copies = [{k: v.clone() for k, v in d.items()} for d in (val, test)]
        return number(call(answer, checkpoints, *copies, set(old)), "evaluate")

    def whole(x: Tensor) -> Tensor:
        return x

    got = score([whole], _clusters(other, g), _clusters(new, g))
    expect(got > 0.99, f"a perfect checkpoint on new classes scored {got:.2f}; it must score 1.")
    noise = _noise(new, g)
    got = score([whole], _noise(other, g), noise)
    expect(
        got < 0.41,
        f"on examples that have nothing in common a learner can only guess, 0.33, but {got:.2f} was "
        "reported: what can it know of a query?",
    )
    expect(got > 0.25, f"guessing among three classes scores 0.33, but {got:.2f} was reported.")
    got = score([whole], _clusters(other, g), noise)
    expect(
        got < 0.41,
        f"a checkpoint that is perfect on val classes and guesses on test classes got {got:.2f}: the "
        "report must be its score on test classes.",
    )
    got = score([whole], _noise(other, g), _clusters(old, g) | noise)
    expect(
        got < 0.41,
        f"a checkpoint that knows its training classes and guesses on new ones got {got:.2f}: leave "
        "out of the test what stands in trained_on.",
    )
    halves = [lambda x: x[..., :32], lambda x: x[..., 32:]]
    val = _joined(_clusters(other, g), _noise(other, g))
    test = _joined(_noise(new, g), _clusters(new, g))
    for order in (halves, halves[::-1]):
        got = score(order, val, test)
        expect(
            got < 0.41,
            f"of two checkpoints one is best on val classes and guesses on test classes, and {got:.2f} "
            "was reported: the choice must not look at the test classes.",
        )
        got = score(order, dict(zip(other, test.values(), strict=True)), test)
        expect(
            got > 0.99,
            f"the val classes say clearly which checkpoint is better, but {got:.2f} was reported: "
            "choose the best on val, then score that one.",
        )
    return "no shared examples, no choice on test classes, no class seen in training."


def _joined(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([a[name], b[name]], -1) for name in a}


CLAIMS = {
    "a": "claim (a) is supported: it is about these two learners, and their paired interval excludes 0",
    "b": "claim (b) is about methods: there the seeds decide, and their interval holds 0",
    "c": "claim (c) takes an interval that holds 0 for a proof of equality; up to 1.3 points remain "
    "possible",
    "d": "claim (d) is supported: 3 points lie far outside the interval over seeds",
}


@check
def claims(answer: Any) -> str:
    """The set of claims that the table supports.

    >>> claims({"a", "b"})
    Not yet: claim (b) is about methods: there the seeds decide, and their interval holds 0.
    """
    wrong = "give the letters of the supported claims, such as {'a', 'c'}."
    answer = call(answer) if callable(answer) else answer
    expect(isinstance(answer, str | set | frozenset | list | tuple), wrong)
    chosen = set()
    for item in answer:
        expect(isinstance(item, str) and item.lower() in CLAIMS, wrong)
        chosen.add(item.lower())
    expect(chosen, wrong)
    for letter in sorted(chosen ^ {"a", "d"}):
        raise Hint(CLAIMS[letter] + ".")
    return "what a table supports depends on what its intervals are over."
