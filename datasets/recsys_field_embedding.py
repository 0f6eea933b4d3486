"""Vectors of fields: rows of tables, means of lists, numbers times vectors.

Song et al., "AutoInt: automatic feature interaction learning via self-attentive neural networks"
(2019), section 4.2. All click models take their vectors from here, so any kind of embedding table
works in each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fanns.errors import InputError

from .recsys_fields import CATEGORICAL, NUMERIC, Columns, Field
from .recsys_table import EmbeddingTable, FrequencyStats, FullTable
from .recsys_table_hashed import Memory, UnifiedTable
from .recsys_tables import table_for
from .recsys_torch import generator, nn, normal, torch

STD = 0.01  # of the entries of untrained vectors
SMALL = 200  # rows of a table that is not worth compressing (Ginart et al. 2019; Shi et al. 2019)

Tables = Callable[[Sequence[Field], int, int], Mapping[str, EmbeddingTable]]


class FieldEmbedding(torch.nn.Module):
    """A vector for every field of a row.

    Attributes:
        fields: in the order of the vectors. dim: of each.
        tables: by name of the field, for those that are no numbers.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        dim: int,
        *,
        tables: Tables | None = None,
        std: float = STD,
        seed: int = 0,
    ) -> None:
        """tables: makes the tables of fields, dimensions and seed (`compressed`, `unified`); by
        default full ones.
        """
        super().__init__()
        if not fields:
            raise InputError("a model needs at least one field")
        self.dim = dim
        self.fields: list[Field] = list(fields)
        made = (tables or full(std))(self.fields, dim, seed)
        self.tables = nn.ModuleDict(
            {_key(at): made[f.name] for at, f in enumerate(self.fields) if f.kind != NUMERIC}
        )
        numbers = [at for at, f in enumerate(self.fields) if f.kind == NUMERIC]
        self.directions = nn.ParameterDict(
            {_key(at): normal((dim,), std, generator(seed + 1 + at)) for at in numbers}
        )

    def forward(self, columns: Columns) -> Any:
        """float32[n, fields, dim]."""
        return torch.stack([self.one(field.name, columns[field.name]) for field in self.fields], 1)

    def one(self, name: str, column: Any) -> Any:
        """The vectors float32[n, dim] of one field, or float32[..., dim] for rows of any shape."""
        at = self.place(name)
        field = self.fields[at]
        if field.kind == NUMERIC:
            return column.unsqueeze(-1) * self.directions[_key(at)]
        table = self.tables[_key(at)]
        if field.kind == CATEGORICAL:
            return table(column)
        present = (column >= 0).unsqueeze(-1)
        total = (table(column.clamp_min(0)) * present).sum(dim=-2)
        return total / present.sum(dim=-2).clamp_min(1)

    def table(self, name: str) -> EmbeddingTable:
        """The table of a field that is no number."""
        return self.tables[_key(self.place(name))]  # type: ignore[no-any-return]

    def place(self, name: str) -> int:
        """Which vector is a field's; InputError for a name that no field has."""
        names: list[str] = [field.name for field in self.fields]
        for at, known in enumerate(names):
            if known == name:
                return at
        raise InputError(f"no field {name!r}; there are {', '.join(names)}")

    @property
    def num_params(self) -> int:
        """Numbers of all tables, what they share counted once."""
        shared: dict[int, int] = {id(t.memory): t.num_params for t in self._unified()}
        own: int = sum(
            t.num_params for t in self.tables.values() if not isinstance(t, UnifiedTable)
        )
        return own + sum(shared.values()) + sum(int(p.numel()) for p in self.directions.values())

    def _unified(self) -> list[UnifiedTable]:
        return [t for t in self.tables.values() if isinstance(t, UnifiedTable)]

    def after_step(self, step: int, optimizer: Any) -> None:
        """See `EmbeddingTable.after_step`."""
        for table in self.tables.values():
            table.after_step(step, optimizer)

    def after_epoch(self, epoch: int) -> None:
        """See `EmbeddingTable.after_epoch`."""
        for table in self.tables.values():
            table.after_epoch(epoch)


def full(std: float = STD) -> Tables:
    """A full table for each field."""

    def make(fields: Sequence[Field], dim: int, seed: int) -> dict[str, EmbeddingTable]:
        return {
            f.name: FullTable(f.rows, dim, std=std, seed=seed + at)
            for at, f in enumerate(fields)
            if f.kind != NUMERIC
        }

    return make


def compressed(
    kind: str,
    share: float,
    *,
    stats: Mapping[str, FrequencyStats] | None = None,
    small: int = SMALL,
    std: float = STD,
) -> Tables:
    """A table of a kind for each field, holding `share` of what a full one would.

    stats: of fields by name; by default their counts. Fields of at most `small` rows stay full.
    """

    def make(fields: Sequence[Field], dim: int, seed: int) -> dict[str, EmbeddingTable]:
        made: dict[str, EmbeddingTable] = {}
        for at, field in enumerate(fields):
            if field.kind == NUMERIC:
                continue
            if field.rows <= small:
                made[field.name] = FullTable(field.rows, dim, std=std, seed=seed + at)
                continue
            known = (stats or {}).get(field.name)
            if known is None and field.counts is not None:
                known = FrequencyStats(field.counts)
            budget = max(dim, int(share * field.rows * dim))
            made[field.name] = table_for(
                kind, field.rows, dim, budget, known, std=std, seed=seed + at
            )
        return made

    return make


def unified(rows: int, chunks: int = 2, *, std: float = STD) -> Tables:
    """One memory of `rows` rows for all fields (feature multiplexing).

    chunks: look-ups that make a vector. Raises InputError unless they cut its dimensions evenly.
    """

    def make(fields: Sequence[Field], dim: int, seed: int) -> dict[str, EmbeddingTable]:
        memory = Memory(rows, max(1, dim // chunks), std=std, seed=seed)
        return {
            f.name: UnifiedTable(f.rows, dim, memory, feature=at, chunks=chunks)
            for at, f in enumerate(fields)
            if f.kind != NUMERIC
        }

    return make


def _key(place: int) -> str:
    """Names of columns may hold what names of modules may not."""
    return f"field{place}"
