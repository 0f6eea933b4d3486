"""Filtered vector search: one index for every filter, and answers that say what they are."""

from fanns.errors import FannsError
from fanns.filters import col, each, ids, mask, param, predicate
from fanns.hits import BatchHits, Hit, Hits
from fanns.index import Index
from fanns.prepared import Prepared

open = Index.open

__version__ = "0.1.0"

__all__ = [
    "BatchHits",
    "FannsError",
    "Hit",
    "Hits",
    "Index",
    "Prepared",
    "__version__",
    "col",
    "each",
    "ids",
    "mask",
    "open",
    "param",
    "predicate",
]
