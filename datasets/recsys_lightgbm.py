"""LightGBM for boosted trees, or an error that says how to come by it.

from .recsys_lightgbm import lightgbm
"""

from fanns.errors import MissingDependencyError

try:
    import lightgbm
except ImportError as error:
    raise MissingDependencyError(
        "boosted trees need LightGBM: pip install 'fanns[recsys]'"
    ) from error

__all__ = ["lightgbm"]
