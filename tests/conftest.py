"""Shared fixtures. One thread a worker: the tests run on two workers of a small machine."""

import pytest
import torch
from hypothesis import settings

import minimeta as mm
from minimeta.norm import statistics_from

torch.set_num_threads(1)
settings.register_profile("minimeta", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("minimeta")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def fixed_start():
    """Networks start from torch's global generator, as everywhere in PyTorch: fix it for each test."""
    torch.manual_seed(0)


def make_pool(classes: int, size: int, shape: tuple[int, ...], seed: int = 0) -> mm.ClassPool:
    """A class pool whose classes differ: a random centre each, and noise around it."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.rand(classes, 1, *shape, generator=g)
    items = centres + 0.3 * torch.rand(classes, size, *shape, generator=g)
    sizes = torch.full((classes,), size)
    return mm.ClassPool(items.flatten(0, 1), sizes, tuple(f"c{i}" for i in range(classes)))


@pytest.fixture
def images() -> mm.ClassPool:
    """Twelve classes of 8 pictures, 16x16: as small as four blocks allow."""
    return make_pool(12, 8, (1, 16, 16))


@pytest.fixture
def vectors() -> mm.ClassPool:
    return make_pool(12, 8, (4,))


def with_support(examples: int, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Run a module on a set whose first examples are the support set."""
    with statistics_from(examples):
        return module(x)
