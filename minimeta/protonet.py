"""Prototypical Networks: classify by the distance to each class's mean embedding.

Snell, Swersky & Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017.

>>> import minimeta as mm, torch
>>> pixels = mm.ProtoNet(nn.Flatten())                       # nearest mean of the raw pixels
>>> pixels(mm.tasks("glyphs", split="test").at([0])).shape   # (T, R, N)
torch.Size([1, 75, 5])
"""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from minimeta.embedding import embed_vectors
from minimeta.episodes import Episode
from minimeta.errors import MinimetaError
from minimeta.learner import Learner, class_sums, require_classes, require_match

DISTANCES = ("squared", "euclidean")


def prototypes(
    z: Float[Tensor, "task support dim"], labels: Int64[Tensor, "task support"], ways: int
) -> Float[Tensor, "task way dim"]:
    """Class means c_n of the embedded support set: Snell et al. 2017, Eq. (1).

    >>> z = torch.tensor([[[0.0], [2.0], [5.0]]])
    >>> prototypes(z, torch.tensor([[0, 0, 1]]), ways=2)
    tensor([[[1.],
             [5.]]])
    """
    counts = class_sums(torch.ones_like(z[..., :1]), labels, ways)
    return class_sums(z, labels, ways) / counts


def squared_distances(
    a: Float[Tensor, "task query dim"], b: Float[Tensor, "task way dim"]
) -> Float[Tensor, "task query way"]:
    """Squared distance of every pair, as ``|a|^2 - 2 a·b + |b|^2``: a product, no differences.

    Both are first moved by the mean of ``b``, which changes no distance and keeps the three terms
    small, so that little is lost to rounding when they cancel.

    >>> squared_distances(torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[3.0, 4.0]]]))
    tensor([[[25.]]])
    """
    centre = b.mean(1, keepdim=True)
    a, b = a - centre, b - centre
    squares = a.square().sum(-1, keepdim=True) + b.square().sum(-1).unsqueeze(1)
    return (squares - 2 * a @ b.mT).clamp_min(0)


class ProtoNet(Learner):
    r"""Prototypical Network with any encoder.

    Parameters
    ----------
    encoder
        Maps (B, \*item) to (B, dim); ``nn.Identity()`` for vectors, ``nn.Flatten()`` for raw pixels.
    distance
        ``"squared"`` Euclidean, the paper's, or plain ``"euclidean"``, which other code uses: the same
        nearest class, another training signal.
    shared_pass
        Whether support and query pass through the encoder together, as in the authors' code. It
        matters under ``bn="batch"`` and while training under ``bn="running"``.

    Notes
    -----
    Scores are -d(f(x), c_n); their softmax is Eq. (2) and its cross-entropy the loss.
    """

    def __init__(
        self, encoder: nn.Module, *, distance: Literal["squared", "euclidean"] = "squared",
        shared_pass: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = dict(encoder=encoder, distance=distance, shared_pass=shared_pass)
        if distance not in DISTANCES:
            raise MinimetaError(
                f"distance={distance!r} was given; it is one of {', '.join(DISTANCES)}."
            )
        self.encoder, self.distance, self.shared_pass = encoder, distance, shared_pass

    def forward(self, episode: Episode) -> Tensor:
        """Return -distance of each query to each prototype, (T, R, N)."""
        ways = require_classes(episode, "ProtoNet")
        require_match(self, episode)
        support, query = embed_vectors(self.encoder, episode, shared_pass=self.shared_pass)
        squared = squared_distances(query, prototypes(support, episode.support_y, ways))
        if self.distance == "squared":
            return -squared
        return -torch.sqrt(squared + 1e-12)  # the root's slope is infinite at 0
