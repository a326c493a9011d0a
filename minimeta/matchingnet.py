"""Matching Networks: every support example votes for its class, the more the more it resembles.

Vinyals et al., "Matching networks for one shot learning", NeurIPS 2016.

>>> import minimeta as mm
>>> scores = mm.MatchingNet(nn.Flatten(), scale=10.0)(mm.tasks("glyphs", split="test").at([0]))
>>> scores.shape, bool(torch.allclose(scores.exp().sum(-1), torch.ones(1, 75)))
(torch.Size([1, 75, 5]), True)
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from minimeta.embedding import embed_vectors
from minimeta.episodes import Episode
from minimeta.errors import check_rate
from minimeta.learner import Learner, one_hot, require_classes, require_match


def cosines(
    a: Float[Tensor, "task query dim"], b: Float[Tensor, "task support dim"]
) -> Float[Tensor, "task query support"]:
    """Cosine similarity c(a, b) of every pair; 0 for a vector of length 0.

    >>> cosines(torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 3.0]]]))
    tensor([[[1., 0.]]])
    """
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).mT


def class_votes(
    log_attention: Float[Tensor, "task query support"],
    labels: Int64[Tensor, "task support"],
    ways: int,
) -> Float[Tensor, "task query way"]:
    """Log of the attention that falls on each class: the logarithm of Eq. (1).

    >>> class_votes(torch.tensor([[[0.5, 0.3, 0.2]]]).log(), torch.tensor([[1, 0, 1]]), ways=2).exp()
    tensor([[[0.3000, 0.7000]]])
    """
    member = one_hot(labels, ways).mT.unsqueeze(1)  # (T, 1, N, S)
    # summed as logarithms: at a large scale a vote underflows, and log 0 would be -inf
    return log_attention.unsqueeze(2).masked_fill(~member, -torch.inf).logsumexp(-1)


class MatchingNet(Learner):
    r"""Matching Network with any encoder, the same one for support and query sets.

    Parameters
    ----------
    encoder
        Maps (B, \*item) to (B, dim).
    scale
        Factor on the cosines before their softmax, an inverse temperature. The paper has none, which is
        1: cosines lie in [-1, 1], so one example's vote is at most e^2 = 7.4 times another's, and no
        probability comes near 1. The code of Chen et al. 2019 ("A closer look at few-shot
        classification") uses 100, and cuts negative cosines off.
    shared_pass
        Whether support and query pass through the encoder together; see :class:`ProtoNet`.

    Notes
    -----
    Eq. (1): P(y | x) = sum_i a(x, x_i) [y_i = y]; the attention a is a softmax over the support set of the
    cosines c(f(x), g(x_i)), section 2.1.1. Scores are the logarithms of these probabilities, so that
    their cross-entropy is the negative log-likelihood of the paper's objective (section 2.2). A class
    with more shots has more votes. Here f = g; the full context embeddings of section 2.1.2, LSTMs that
    let the support set change every embedding, are left out: they depend on the order of the support set.
    """

    def __init__(self, encoder: nn.Module, *, scale: float = 1.0, shared_pass: bool = True) -> None:
        super().__init__()
        self.config = dict(encoder=encoder, scale=scale, shared_pass=shared_pass)
        check_rate("scale", scale)
        self.encoder, self.scale, self.shared_pass = encoder, scale, shared_pass

    def forward(self, episode: Episode) -> Tensor:
        """Return the log-probability of each class for each query, (T, R, N)."""
        ways = require_classes(episode, "MatchingNet")
        require_match(self, episode)
        support, query = embed_vectors(self.encoder, episode, shared_pass=self.shared_pass)
        attention = (self.scale * cosines(query, support)).log_softmax(-1)  # over the support set
        return class_votes(attention, episode.support_y, ways)
