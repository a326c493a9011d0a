"""A class pool: the examples of one split's classes, as one tensor of rows."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from minimeta.errors import MinimetaError


def fingerprint(*tensors: Tensor) -> str:
    """Return a short hash of tensors that are no scalars: of their shapes, of 64 rows and of every row's sum of bits.

    >>> fingerprint(torch.zeros(3, 2)) == fingerprint(torch.zeros(2, 3))
    False
    """
    digest = hashlib.sha256()
    for t in tensors:
        rows = t.detach().reshape(len(t), -1).contiguous()
        bits = rows.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[t.element_size()])
        digest.update(repr((tuple(t.shape), t.dtype)).encode())
        for part in (bits[:: max(1, len(bits) // 64)], bits.sum(1, dtype=torch.int64)):
            digest.update(part.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class ClassPool:
    r"""The classes that tasks are drawn from; class c owns ``sizes[c]`` consecutive rows.

    Parameters
    ----------
    items
        float32, (rows, \*item): the examples, all rows of class 0 first, then those of class 1, ...
    sizes
        int64, (C,): how many rows each class has; classes may differ in size.
    names
        C names, one a class.

    Examples
    --------
    >>> pool = ClassPool(torch.zeros(5, 1, 28, 28), torch.tensor([2, 3]), ("alpha", "beta"))
    >>> pool.starts
    tensor([0, 2])
    """

    items: Tensor
    sizes: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.sizes, Tensor) or self.sizes.dtype != torch.int64:
            raise MinimetaError(
                f"sizes is a {type(self.sizes).__name__} of {getattr(self.sizes, 'dtype', 'no dtype')}; give "
                "an int64 tensor with one number of examples a class."
            )
        items = self.items
        if not isinstance(items, Tensor) or not items.is_floating_point() or not items.ndim:
            raise MinimetaError(
                "the items of a class pool are not a floating-point tensor of rows; convert them, as with "
                "items.float() / 255 for pictures of bytes."
            )
        if self.sizes.ndim != 1 or len(self.sizes) != len(self.names):
            raise MinimetaError(
                f"sizes has shape {tuple(self.sizes.shape)} and there are {len(self.names)} names; "
                "give one size and one name for every class."
            )
        if int(self.sizes.sum()) != len(self.items):
            raise MinimetaError(
                f"the class sizes add up to {int(self.sizes.sum())} but there are "
                f"{len(self.items)} rows; every row belongs to one class."
            )
        if not bool(torch.isfinite(self.items).all()) or bool((self.sizes < 1).any()):
            raise MinimetaError(
                "a class pool was given items that are not all finite, or a class without examples; "
                "repair or leave out such examples and classes."
            )

    @property
    def starts(self) -> Tensor:
        """The first row of each class, (C,)."""
        return torch.cumsum(self.sizes, 0) - self.sizes

    @property
    def labels(self) -> list[str]:
        """The class name of each row, for use outside episodes.

        >>> ClassPool(torch.zeros(3, 2), torch.tensor([1, 2]), ("cat", "dog")).labels
        ['cat', 'dog', 'dog']
        """
        counts = self.sizes.tolist()
        return [name for name, n in zip(self.names, counts, strict=True) for _ in range(n)]

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return tuple(self.items.shape[1:])

    @property
    def fingerprint(self) -> str:
        """A short hash of the sizes and of all rows; it tells data sets apart."""
        return fingerprint(self.sizes, self.items)

    def to(self, device: torch.device | str) -> "ClassPool":
        """Return the pool with its tensors on ``device``."""
        return ClassPool(self.items.to(device), self.sizes.to(device), self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.item_shape))
        return f"ClassPool({len(self)} classes, {len(self.items)} examples of {shape})"
