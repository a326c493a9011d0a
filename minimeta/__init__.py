"""minimeta: meta-learning for few-shot learning, small, readable and tested.

>>> import minimeta as mm
>>> tasks = mm.tasks("sinusoids", shots=10, queries=10)
>>> learner = mm.MAML(mm.MLP(1, 1), inner_lr=0.01)
>>> mm.meta_train(learner, tasks, steps=2, meta_batch=25)
Training(2 steps of 25 tasks, ...)
"""

from typing import TYPE_CHECKING

from minimeta.baselines import FromScratch, SimpleShot, pretrain
from minimeta.catalog import tasks
from minimeta.data.pool import ClassPool
from minimeta.episodes import Episode
from minimeta.errors import DataUnavailable, DivergedError, MinimetaError
from minimeta.evaluate import Result, compare, half_width, meta_test
from minimeta.implicit import ImplicitMAML
from minimeta.linearhead import CosineHead, LinearHead
from minimeta.maml import MAML
from minimeta.mamlpp import MAMLPlusPlus
from minimeta.matchingnet import MatchingNet
from minimeta.networks import MLP, Conv4
from minimeta.norm import BatchNorm
from minimeta.protomaml import ProtoMAML
from minimeta.protonet import ProtoNet
from minimeta.relationnet import RelationModule, RelationNet
from minimeta.reptile import Reptile
from minimeta.ridge import R2D2
from minimeta.setlearner import SetLearner
from minimeta.train import meta_train
from minimeta.weights import load, save

if TYPE_CHECKING:
    from minimeta.classifier import FewShotClassifier

__version__ = "0.1.0"

__all__ = [
    "MAML",
    "MLP",
    "R2D2",
    "BatchNorm",
    "ClassPool",
    "Conv4",
    "CosineHead",
    "DataUnavailable",
    "DivergedError",
    "Episode",
    "FewShotClassifier",
    "FromScratch",
    "ImplicitMAML",
    "LinearHead",
    "MAMLPlusPlus",
    "MatchingNet",
    "MinimetaError",
    "ProtoMAML",
    "ProtoNet",
    "RelationModule",
    "RelationNet",
    "Reptile",
    "Result",
    "SetLearner",
    "SimpleShot",
    "compare",
    "half_width",
    "load",
    "meta_test",
    "meta_train",
    "pretrain",
    "save",
    "tasks",
]


def __getattr__(name: str) -> object:
    """Import the classifier, and scikit-learn with it, only when somebody asks for it."""
    if name == "FewShotClassifier":
        from minimeta.classifier import FewShotClassifier

        return FewShotClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
