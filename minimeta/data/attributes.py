r"""Attribute tasks: one hidden attribute decides the class, and which one differs from task to task.

An item is D attributes, each +1 or -1. A task hides one of them, and one of its values is class 1.
In the support set, and in the query set, every attribute takes both values equally often, so nothing
but the labels tells the hidden attribute from the D - 1 others.

>>> from minimeta.synthetic import AttributeTasks
>>> AttributeTasks(attributes=64, shots=5, queries=15).at(range(8))
Episode(8 tasks, 2-way 5-shot, 15 queries, 64)

Notes
-----
**What no embedding can do for the squared distance.** Let x_1..x_n be the n = 2K support items, y_i = ±1
their labels, f any embedding, m the mean of all f(x_i), c_0 and c_1 those of the classes. Then

    |f(q) - c_0|^2 - |f(q) - c_1|^2  =  sum_i y_i w_i,    w_i = (2/K) <f(x_i), f(q) - m>:

nearest mean is a vote of the support labels, with weights that do not depend on the labels. Seen from
the items alone, every attribute is hidden with equal probability; if it is the j-th, the vote is right
when w has a positive product with the column c_j = q_j (x_1j, .., x_nj). So the accuracy is the share
of the D columns on one side of a hyperplane. The columns are independent, each as likely as its
negative, and hyperplanes part D points of an (n-1)-dimensional space in at most
C = 2 sum_{i<n-1} binom(D-1, i) ways (Cover 1965); by Massart's lemma even the best w, chosen with all
items in view, has on average at most 1/2 + sqrt(ln C / 2D) of them on its side: :func:`metric_bound`.
It falls to chance as D grows, for every f, of any size and training; and not only for prototypes, for
*every* vote whose weights are blind to the labels: matching by fixed similarities, weighted neighbours,
ridge regression on f(x). It is the few-shot form of Warmuth & Vishwanathan, "Leaving the span", COLT
2005. It does not bind every fixed metric: by the sum of |q_j - c_j|^p, with p so large that
(K / (K - 1))^p > D - 1, the nearest mean of the raw vectors makes the best guess there is.

**What can be done.** Among the attributes that agree with all labels (the hidden one, and each other
with probability 2 / binom(2K, K)), the majority of the query's values is the best guess there is:
:func:`best_accuracy`. K a little above log2(D) / 2 is enough. A relation module can learn it: in the sum of
a class's items, the hidden attribute stands at K or -K, and a network can look at such attributes only.

**What is often said, and false:** that two attributes ("same hue" here, "same shape" there) already
defeat a metric. With one or two shots, and with two attributes at any number of shots, the nearest mean
of the raw vectors *is* the best guess there is (97.5 % with D = 2, K = 3), and no comparison, learned or
not, can do better. A metric fails when D is far above K while K is still above log2(D) / 2.
"""

import math

import torch
from jaxtyping import Int64
from torch import Tensor

from minimeta import hashing


def draw(
    key: Int64[Tensor, " task"], attributes: int, shots: int, queries: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Draw the support set and the query set of the task of each key.

    Parameters
    ----------
    key
        int64, (T,).
    attributes, shots, queries
        D, K and Q, the latter two a class.

    Returns
    -------
    tuple
        (items, labels) of the support set and of the query set: float32 (T, 2K, D) and int64 (T, 2K).

    Examples
    --------
    >>> (x, y), _ = draw(hashing.fold(hashing.start(0), torch.arange(3)), 8, shots=2, queries=1)
    >>> x.shape, bool((x.sum(1) == 0).all()), y.sum(1)
    (torch.Size([3, 4, 8]), True, tensor([2, 2, 2]))
    """
    which, sign = hashing.draw(hashing.fold(key, 0), 2).unbind(-1)
    hidden, value = which % attributes, (sign % 2 * 2 - 1).float()
    sets = []
    for word, examples in ((1, 2 * shots), (2, 2 * queries)):
        x = _balanced(hashing.fold(key, word), attributes, examples)
        decides = x.gather(2, hidden.view(-1, 1, 1).expand(-1, examples, 1)).squeeze(2)
        sets.append((x, (decides == value.unsqueeze(1)).long()))
    return sets[0], sets[1]


def _balanced(key: Tensor, attributes: int, examples: int) -> Tensor:
    """Signs (T, examples, attributes), of which each attribute's are half +1 and half -1."""
    columns = hashing.fold(key.unsqueeze(-1), torch.arange(attributes, device=key.device))
    ranks = hashing.draw(columns, examples).argsort(-1)  # (T, D, examples): a random permutation
    return ((ranks < examples // 2).float() * 2 - 1).mT


def nearest_mean_accuracy(attributes: int, shots: int) -> float:
    """Exact accuracy of the nearest class mean on the raw vectors, about Phi(sqrt((2K-1) / (D-1))).

    The hidden attribute adds K to the vote for the right class; each other one adds 2H - K, where H
    is hypergeometric (how many of K draws from K items of each value have the first value).

    >>> round(nearest_mean_accuracy(2, shots=3), 3), round(nearest_mean_accuracy(1024, shots=7), 3)
    (0.975, 0.545)
    """
    among = math.comb(2 * shots, shots)
    chances = [math.comb(shots, h) ** 2 / among for h in range(shots + 1)]  # of H = 0..K
    size = shots * (attributes - 1) + 1
    spectrum = torch.fft.rfft(torch.tensor(chances, dtype=torch.float64), n=size)
    total = torch.fft.irfft(spectrum ** (attributes - 1), n=size)  # of the sum of the H
    vote = shots + 2 * torch.arange(size) - shots * (attributes - 1)
    return float(total[vote > 0].sum() + total[vote == 0].sum() / 2)


def best_accuracy(attributes: int, shots: int) -> float:
    """Accuracy of the best guess there is: the majority among the attributes that fit the labels.

    >>> round(best_accuracy(64, shots=7), 3), round(best_accuracy(1024, shots=7), 3)
    (0.991, 0.886)
    >>> abs(best_accuracy(64, shots=1) - nearest_mean_accuracy(64, shots=1)) < 1e-9
    True
    """
    fits = torch.tensor(2 / math.comb(2 * shots, shots), dtype=torch.float64)
    m = torch.arange(attributes, dtype=torch.float64)  # how many of the others fit as well
    others, half = torch.tensor(attributes - 1.0, dtype=torch.float64), (m / 2).floor()
    chance = _log_choose(others, m) + torch.xlogy(m, fits) + torch.xlogy(others - m, 1 - fits)
    # one of the m + 1 that fit decides: it is with their majority as often as a fair coin, and more
    # by binom(m, m/2) / 2^m / 2
    lead = _log_choose(m, half) - m * math.log(2)
    return float((chance.exp() * (1 + lead.exp())).sum() / 2)


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    """Logarithm of the binomial coefficient."""
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


def metric_bound(attributes: int, shots: int) -> float:
    """Accuracy that no nearest mean on any embedding exceeds: see the notes of this module.

    >>> round(metric_bound(1024, shots=7), 3), round(metric_bound(1024, shots=2), 3)
    (0.677, 0.582)
    """
    ways = 2 * sum(math.comb(attributes - 1, i) for i in range(2 * shots - 1))
    return min(1.0, 0.5 + math.sqrt(math.log(ways) / (2 * attributes)))
