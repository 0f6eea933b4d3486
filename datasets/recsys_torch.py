"""torch for models, or an error that says how to come by it; and what is drawn with it.

from .recsys_torch import torch
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanns.errors import MissingDependencyError

try:
    import torch
except ImportError as error:
    raise MissingDependencyError(
        "training recommender models needs torch: pip install 'fanns[recsys]'"
    ) from error

__all__ = ["Tensor", "array", "forget", "functional", "generator", "nn", "normal", "torch"]

nn = torch.nn
functional = torch.nn.functional
Tensor = Any  # PyTorch has no types that are read here


def generator(seed: int) -> Any:
    """A generator of its own for what is drawn with this seed."""
    return torch.Generator().manual_seed(seed)


def array(parameter: Any) -> NDArray[np.float32]:
    """A parameter as an array of its own."""
    return np.array(parameter.detach().numpy(), np.float32)


def forget(optimizer: Any, parameter: Any, entries: Tensor) -> None:
    """Clears what an optimiser remembers of some entries of a parameter (Adam's moments)."""
    for value in optimizer.state.get(parameter, {}).values():
        if torch.is_tensor(value) and value.shape == parameter.shape:
            value.view(-1)[entries] = 0.0


def normal(shape: tuple[int, ...], std: float, random: Any, mean: float = 0.0) -> Any:
    """A parameter drawn from a normal distribution."""
    return nn.Parameter(torch.randn(shape, generator=random) * std + mean)
