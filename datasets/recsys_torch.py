"""torch for models, or an error that says how to come by it.

from .recsys_torch import torch
"""

from fanns.errors import MissingDependencyError

try:
    import torch
except ImportError as error:
    raise MissingDependencyError(
        "training recommender models needs torch: pip install 'fanns[recsys]'"
    ) from error

__all__ = ["torch"]
