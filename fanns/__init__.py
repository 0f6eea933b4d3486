"""Filtered vector search: one index for every filter, and answers that say what they are."""

from fanns import stores, transforms
from fanns.coarse import CoarseToFine
from fanns.errors import FannsError
from fanns.filters import col, each, ids, mask, param, predicate
from fanns.hits import BatchHits, Hit, Hits
from fanns.index import Index
from fanns.prepared import Prepared
from fanns.product_key_index import ProductKeyIndex
from fanns.product_keys import ProductKeys

open = Index.open

__version__ = "0.1.0"

__all__ = [
    "BatchHits",
    "CoarseToFine",
    "FannsError",
    "Hit",
    "Hits",
    "Index",
    "Prepared",
    "ProductKeyIndex",
    "ProductKeys",
    "__version__",
    "col",
    "each",
    "ids",
    "mask",
    "open",
    "param",
    "predicate",
    "stores",
    "transforms",
]
