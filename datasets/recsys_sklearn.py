"""scikit-learn with the parts that are used, or an error that says how to come by it.

from .recsys_sklearn import sklearn
"""

from fanns.errors import MissingDependencyError

try:
    import sklearn
    import sklearn.decomposition
    import sklearn.feature_extraction.text
    import sklearn.tree
except ImportError as error:
    raise MissingDependencyError(
        "tf-idf and decision trees need scikit-learn: pip install 'fanns[recsys]'"
    ) from error

__all__ = ["sklearn"]
