"""Embedding both sets of an episode: what every learner with an encoder does first."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minimeta.adapt import run
from minimeta.episodes import Episode
from minimeta.errors import MinimetaError
from minimeta.learner import require_module
from minimeta.norm import needs_support


def embed(encoder: nn.Module, episode: Episode, *, shared_pass: bool) -> tuple[Tensor, Tensor]:
    """Embed support and query sets, in one pass or in two; what a pass holds matters to batch norm."""
    require_module(encoder)
    if shared_pass or needs_support(encoder):
        support = episode.support_x.shape[1]
        both = torch.cat([episode.support_x, episode.query_x], 1)
        z = run(encoder, both, stats_from=support)
        return z[:, :support], z[:, support:]
    return run(encoder, episode.support_x), run(encoder, episode.query_x)


def require_vectors(z: Tensor) -> Tensor:
    """Return embeddings (T, B, dim), or refuse those of another shape."""
    if z.ndim != 3:
        raise MinimetaError(
            f"the encoder gave embeddings of shape {tuple(z.shape[2:])}; this learner needs vectors, "
            "so end the encoder with nn.Flatten()."
        )
    return z


def embed_vectors(
    encoder: nn.Module, episode: Episode, *, shared_pass: bool
) -> tuple[Float[Tensor, "task support dim"], Float[Tensor, "task query dim"]]:
    """Embed support and query sets as vectors, in one pass or in two.

    >>> episode = Episode(torch.zeros(1, 2, 3), torch.tensor([[0, 1]]), torch.zeros(1, 4, 3))
    >>> [tuple(z.shape) for z in embed_vectors(nn.Identity(), episode, shared_pass=True)]
    [(1, 2, 3), (1, 4, 3)]
    """
    support, query = embed(encoder, episode, shared_pass=shared_pass)
    return require_vectors(support), require_vectors(query)
