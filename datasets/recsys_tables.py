"""The kinds of embedding tables by name, and one made to a budget."""

from __future__ import annotations

from fanns.errors import InputError

from .recsys_table import STD, EmbeddingTable, FrequencyStats, FullTable
from .recsys_table_hashed import HashedTable, UnifiedTable
from .recsys_table_lma import LocalityTable
from .recsys_table_mixed import MixedTable
from .recsys_table_quotient import QuotientProduct, QuotientSum, QuotientTable
from .recsys_table_selected import SelectedTable
from .recsys_table_sparse import SparseTable

KINDS: dict[str, type[EmbeddingTable]] = {
    "full": FullTable,
    "hashed": HashedTable,
    "unified": UnifiedTable,
    "quotient-concat": QuotientTable,
    "quotient-add": QuotientSum,
    "quotient-mult": QuotientProduct,
    "mixed": MixedTable,
    "selected": SelectedTable,
    "lma": LocalityTable,
    "sparse": SparseTable,
}


def table_for(
    kind: str,
    rows: int,
    dim: int,
    budget_params: int | None = None,
    stats: FrequencyStats | None = None,
    *,
    std: float = STD,
    seed: int = 0,
) -> EmbeddingTable:
    """An untrained table of a kind (one of KINDS) that holds at most `budget_params` numbers.

    budget_params: rows * dim when left out. Raises InputError for an unknown kind, a budget that
    the kind cannot keep to, or missing stats.
    """
    if kind not in KINDS:
        raise InputError(f"table {kind!r} is none of {', '.join(KINDS)}")
    budget = rows * dim if budget_params is None else budget_params
    return KINDS[kind].for_budget(rows, dim, budget, stats, std=std, seed=seed)
