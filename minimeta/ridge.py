"""R2D2: a ridge regression on top of the embedding, solved in closed form for every task.

Bertinetto, Henriques, Torr & Vedaldi, "Meta-learning with differentiable closed-form solvers", ICLR
2019.

>>> import minimeta as mm
>>> mm.R2D2(mm.Conv4())(mm.tasks("glyphs", split="test").at([0])).shape                # classes
torch.Size([1, 75, 5])
>>> mm.R2D2(mm.MLP(1, 40))(mm.tasks("sinusoids", shots=10, queries=4).at([0])).shape     # targets
torch.Size([1, 4, 1])
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from minimeta.embedding import embed_vectors
from minimeta.episodes import Episode
from minimeta.errors import check_rate
from minimeta.learner import Learner, one_hot, require_match


def ridge(
    x: Float[Tensor, "task support dim"], y: Float[Tensor, "task support output"],
    penalty: float | Float[Tensor, ""],
) -> Float[Tensor, "task dim output"]:  # fmt: skip
    """Return the W of each task that minimises |X W - Y|^2 + penalty·|W|^2.

    That is (X'X + penalty·I)^-1 X'Y, a system of dim equations; by the Woodbury identity it equals
    X' (XX' + penalty·I)^-1 Y, one of S equations. The smaller one is solved: the larger loses digits.

    >>> ridge(torch.tensor([[[2.0]]]), torch.tensor([[[3.0]]]), penalty=2.0)        # 2·3 / (2·2 + 2)
    tensor([[[1.]]])
    """
    dtype, few = x.dtype, x.shape[1] <= x.shape[2]
    with torch.autocast(x.device.type, enabled=False):
        # in double, or large examples hide the penalty; mps has none
        if x.device.type != "mps":
            x, y = x.double(), y.double()
        gram = x @ x.mT if few else x.mT @ x
        gram = gram + penalty * torch.eye(gram.shape[1], dtype=x.dtype, device=x.device)
        # _ex: neither waits for a GPU nor raises
        solution = torch.linalg.solve_ex(gram, y if few else x.mT @ y).result
        return (x.mT @ solution if few else solution).to(dtype)


class R2D2(Learner):
    r"""Ridge regression with a learned embedding and a learned penalty, for classes or targets.

    Parameters
    ----------
    encoder
        Maps (B, \*item) to (B, dim).
    penalty
        Where the penalty lambda starts. It is learned as its logarithm, so it stays positive.
    scale
        Where alpha starts, the factor between predictions near 0 and 1 and the scores that cross-entropy
        takes: softmax makes little of a difference of 1. The authors' code starts at 10 on Omniglot.
    intercept
        Append a constant 1 to every embedding, penalised like the others, as the authors' code does.
    shared_pass
        Whether support and query pass through the encoder together, as in the authors' code.

    Notes
    -----
    W is the ridge regression of the one-hot labels on the support embeddings X; the scores of query
    embeddings Z are alpha·Z W + beta. The encoder, lambda, alpha and beta are trained through the
    solution. beta moves all scores alike, so cross-entropy cannot see it; the paper has it, and so have
    we. Float targets are predicted by Z W itself, without alpha and beta.

    Where we differ from the authors' code: it divides X and Y by the square root of S, so that its
    lambda is ours divided by S; it keeps lambda at 50 unless told to learn it, ours starts at 1 and is
    learned.
    """

    def __init__(
        self, encoder: nn.Module, *, penalty: float = 1.0, scale: float = 10.0,
        intercept: bool = True, shared_pass: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = dict(
            encoder=encoder, penalty=penalty, scale=scale, intercept=intercept,
            shared_pass=shared_pass,
        )  # fmt: skip
        check_rate("penalty", penalty)
        check_rate("scale", scale)
        self.encoder, self.intercept, self.shared_pass = encoder, intercept, shared_pass
        self.log_penalty = nn.Parameter(torch.tensor(math.log(penalty)))
        self.alpha = nn.Parameter(torch.tensor(float(scale)))
        self.beta = nn.Parameter(torch.tensor(0.0))

    def forward(self, episode: Episode) -> Tensor:
        """Fit each task's support set, then score or predict its queries: (T, R, N) or (T, R, D)."""
        require_match(self, episode)
        support, query = embed_vectors(self.encoder, episode, shared_pass=self.shared_pass)
        if self.intercept:
            support, query = (F.pad(z, (0, 1), value=1.0) for z in (support, query))
        if episode.ways is None:
            y = episode.support_y.to(support.dtype)
            return query @ ridge(support, y, self.log_penalty.exp())
        y = one_hot(episode.support_y, episode.ways).to(support.dtype)
        return self.alpha * (query @ ridge(support, y, self.log_penalty.exp())) + self.beta
