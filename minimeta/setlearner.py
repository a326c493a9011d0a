"""A set learner: one network reads the whole support set and answers; nothing is built in but symmetry.

Zaheer et al., "Deep sets", NeurIPS 2017; Garnelo et al., "Conditional neural processes", ICML 2018.

>>> import minimeta as mm
>>> mm.SetLearner(mm.Conv4())(mm.tasks("glyphs", split="test").at([0])).shape                  # classes
torch.Size([1, 75, 5])
>>> learner = mm.SetLearner(nn.Identity(), features=1, outputs=1)                              # targets
>>> learner(mm.tasks("sinusoids", shots=10, queries=4).at([0])).shape
torch.Size([1, 4, 1])
"""

import torch
from torch import Tensor, nn

from minimeta.embedding import embed_vectors
from minimeta.episodes import Episode
from minimeta.errors import MinimetaError, check_count
from minimeta.learner import Learner, require_match
from minimeta.networks import MLP
from minimeta.protonet import prototypes


class SetLearner(Learner):
    r"""A black box from (support set, query) to prediction that respects the symmetries of the problem.

    Parameters
    ----------
    encoder
        Maps (B, \*item) to (B, features); ``nn.Identity()`` for vectors.
    features
        Numbers the encoder gives for an example; None: the encoder says (``Conv4`` does).
    outputs
        Outputs D of a regression; None: classes, any number of them.
    width
        Units of the hidden layers, and numbers in the summary of a set.
    shared_pass
        Whether support and query pass through the encoder together; see :class:`ProtoNet`.

    Notes
    -----
    A function of a set is rho(sum_i phi(x_i)) (Zaheer et al., Theorem 2); with the mean for the sum, an
    encoder h of pairs for phi and a decoder g for rho, that is a conditional neural process:

    - targets: r = mean_i h(x_i, y_i); the prediction is g(x, r), without the variance that the paper's
      has too;
    - classes: r_n = the mean of h(x_i) over class n, r = the mean of the r_n; the score of class n is
      g(x, r_n, r). The paper concatenates its class-wise summaries, which fixes the number of classes
      and lets their order matter; one g for every class, with the others seen through r, does neither.

    So the order of the support set changes nothing, and renaming the classes renames the scores. How
    support and query are to be compared is not built in, unlike in ProtoNet: it must be learned.
    """

    def __init__(
        self, encoder: nn.Module, *, features: int | None = None, outputs: int | None = None,
        width: int = 128, shared_pass: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        features = getattr(encoder, "features", None) if features is None else features
        if features is None:
            raise MinimetaError(
                f"no features was given and a {type(encoder).__name__} does not say how many it has; give "
                "features=, the length of the encoder's vectors."
            )
        check_count("features", features)
        check_count("width", width)
        self.config = dict(
            encoder=encoder, features=features, outputs=outputs, width=width,
            shared_pass=shared_pass,
        )  # fmt: skip
        self.encoder, self.features, self.outputs = encoder, features, outputs
        self.shared_pass = shared_pass
        if outputs is None:
            self.h = MLP(features, width, (width,))
            self.g = MLP(features + 2 * width, 1, (width, width))
        else:
            self.h = MLP(features + check_count("outputs", outputs), width, (width,))
            self.g = MLP(features + width, outputs, (width, width))

    def forward(self, episode: Episode) -> Tensor:
        """Summarise each task's support set, then decode it with each query: (T, R, N) or (T, R, D)."""
        self._require_targets(episode)
        require_match(self, episode)
        support, query = embed_vectors(self.encoder, episode, shared_pass=self.shared_pass)
        if support.shape[-1] != self.features:
            raise MinimetaError(
                f"the encoder gave vectors of length {support.shape[-1]} but the SetLearner was made for "
                f"{self.features}; make it with features={support.shape[-1]}."
            )
        if episode.ways is None:
            y = episode.support_y.to(support.dtype)
            r = self.h(torch.cat([support, y], -1)).mean(1, keepdim=True)  # (T, 1, width)
            return self.g(torch.cat([query, r.expand(-1, query.shape[1], -1)], -1))
        classes = prototypes(self.h(support), episode.support_y, episode.ways)  # (T, N, width)
        everything = classes.mean(1, keepdim=True).expand_as(classes)
        each = torch.cat([classes, everything], -1).unsqueeze(1)  # (T, 1, N, 2·width)
        lead = (len(episode), query.shape[1], episode.ways)
        pairs = torch.cat([query.unsqueeze(2).expand(*lead, -1), each.expand(*lead, -1)], -1)
        return self.g(pairs).squeeze(-1)

    def _require_targets(self, episode: Episode) -> None:
        given = None if episode.ways is not None else episode.support_y.shape[-1]
        if given != self.outputs:
            raise MinimetaError(
                f"the episode has {'classes' if given is None else f'{given} target outputs'} but the "
                f"SetLearner was made with outputs={self.outputs}; make it with outputs={given}."
            )
