"""A filter compiled against one index: parsed and typed once, bound and evaluated many times."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from fanns.arguments import check_mapping, check_nulls
from fanns.attributes.direct import Way
from fanns.attributes.direct_tree import direct
from fanns.errors import FilterError, InputError, ParameterError, UnknownColumnError
from fanns.expressions import Constant, Evaluated, Ids, Mask, Node
from fanns.filters import compile_filter, default_nulls, parse_filter, to_sql, walk
from fanns.schema import Schema
from fanns.segment import Segment, SegmentRows
from fanns.selection import Selection

TEMPLATES = 256


class Snapshot:
    """The segments that a search sees, in order, and what filters need to know of them.

    Attributes:
        segments; contexts: how opaque leaves map to each segment's rows; rows: those that are
        live; everything: the live rows of each segment.
    """

    def __init__(
        self, segments: Sequence[Segment], schema: Schema, id_kind: str, id_name: str
    ) -> None:
        self.segments = tuple(segments)
        self.schema = schema
        self.id_kind = id_kind
        self.id_name = id_name
        starts = np.cumsum([0] + [segment.rows for segment in segments])
        self.rows = int(starts[-1])
        self.contexts = [
            SegmentRows(segment, int(start))
            for segment, start in zip(segments, starts[:-1], strict=True)
        ]
        self.templates: OrderedDict[Any, Any] = OrderedDict()
        self._direct: WeakKeyDictionary[Any, list[Way | None]] = WeakKeyDictionary()
        self.everything = [segment.live or Selection.all(segment.n) for segment in segments]

    def template(self, where: Any, nulls: str | None) -> Any:
        """The filter compiled; filters without data of their own are kept for the next call."""
        # Trees are no keys: 1 = True in Python, so that `flag = 1` would find `flag = TRUE`.
        key = (where, nulls) if isinstance(where, str) else None
        known = self.templates.get(key)  # another thread may push it out meanwhile
        if known is not None:
            return known
        tree = parse_filter(where)
        self.check_opaque(tree)
        try:
            made = compile_filter(tree, self.schema, nulls or default_nulls(where))
        except UnknownColumnError as error:
            if repr(self.id_name) not in str(error):
                raise
            hint = "filter by id with where=fanns.ids([...]), alone or joined to col() by & and |"
            raise UnknownColumnError(f"{error}; {hint}") from None
        if key is not None:
            self.templates[key] = made
            if len(self.templates) > TEMPLATES:
                with suppress(KeyError):
                    self.templates.popitem(last=False)
        return made

    def check_opaque(self, tree: Node) -> None:
        """Raises where masks or ids within a filter are not for these rows."""
        for leaf in walk(tree):
            self._check_leaf(leaf)

    def _check_leaf(self, tree: Node) -> None:
        if isinstance(tree, Mask) and len(tree.values) != self.rows:
            raise InputError(
                f"mask has {len(tree.values)} entries, expected {self.rows}: one per row, "
                "aligned with index.ids()"
            )
        if isinstance(tree, Ids):
            strings = not isinstance(tree.values, np.ndarray)
            if len(tree.values) and strings != (self.id_kind == "string"):
                given = "strings" if strings else "integers"
                raise FilterError(f"ids are {self.id_kind}s in this index, the filter has {given}")

    def notes(self, bound: Node) -> tuple[str, ...]:
        """Parts of a filter that an index could not help with, for explain."""
        out = []
        for leaf in walk(bound):
            if isinstance(leaf, Evaluated):
                out.append(f"opaque filter, evaluated by {leaf.engine} over whole columns")
            name = getattr(leaf, "column", None) or getattr(getattr(leaf, "term", None), "name", "")
            if name and self.segments and name not in self.segments[0].indexed:
                out.append(f"column {name!r} is stored, not indexed: evaluated over all its values")
        return tuple(dict.fromkeys(out))

    def ways(self, template: Any) -> list[Way | None]:
        """The short way of each segment, where there is one."""
        ways = self._direct.get(template)
        if ways is None:
            ways = [
                direct(template.tree, segment.attributes, template.nulls)
                for segment in self.segments
            ]
            self._direct[template] = ways
        return ways

    def direct(self, template: Any, params: Mapping[str, Any]) -> list[Selection] | None:
        """The selections by the short way, where the filter and its values allow it."""
        if not params or params.keys() != template.parameters:
            return None
        ways = self.ways(template)
        selections = []
        for way in ways:
            found = None if way is None else way.select(params)
            if found is None:
                return None
            selections.append(found)
        return self._live(selections)

    def _live(self, selections: list[Selection]) -> list[Selection]:
        """Those of the selected rows that were not deleted."""
        return [
            selection if segment.live is None else selection & segment.live
            for segment, selection in zip(self.segments, selections, strict=True)
        ]

    def select(self, bound: Node) -> list[Selection]:
        """The selection of each segment."""
        if isinstance(bound, Constant) and bound.value:
            return self.everything
        return self._live(
            [
                segment.attributes.select(bound, context)
                for segment, context in zip(self.segments, self.contexts, strict=True)
            ]
        )


class Prepared:
    """A reusable filter: `bind` gives its parameters values, `count` says how many rows pass.

    Made by `index.prepare(where)`; accepted as `where=` by every call of the same index.
    """

    __slots__ = ("_bound", "_selections", "matches", "params", "snapshot", "template")

    def __init__(
        self, snapshot: Snapshot, template: Any, params: Mapping[str, Any] | None = None
    ) -> None:
        self.snapshot = snapshot
        self.template = template
        self.params: dict[str, Any] = dict(params or {})
        self._bound: Node | None = None
        self._selections: list[Selection] | None = None
        self.matches = -1

    def bind(self, **params: Any) -> Prepared:
        """The same filter with values for (some of) its parameters; this one stays as it is."""
        return Prepared(self.snapshot, self.template, {**self.params, **params})

    @property
    def bound(self) -> Node:
        """The tree with every parameter replaced.

        Raises:
            ParameterError: a parameter has no value, or a value no parameter.
            FilterTypeError: a value has the wrong type for its column.
        """
        if self._bound is None:
            self._bound = self.template.bind(self.params)
        return self._bound

    def selections(self) -> list[Selection]:
        """The passing rows of each segment; evaluated once."""
        if self._selections is None:
            found = self.snapshot.direct(self.template, self.params)
            if found is None:
                found = self.snapshot.select(self.bound)
            # In this order: another thread that sees the selections reads the number.
            self.matches = sum(selection.count for selection in found)
            self._selections = found
        return self._selections

    def of(self, snapshot: Snapshot) -> Prepared:
        """This filter for the rows of another snapshot of the index (after a change)."""
        if snapshot is self.snapshot:
            return self
        if snapshot.schema is not self.snapshot.schema:
            raise FilterError(
                "this filter was prepared for another index, or before columns came or went: "
                "prepare it again"
            )
        snapshot.check_opaque(self.template.tree)
        return Prepared(snapshot, self.template, self.params)

    def count(self) -> int:
        """The exact number of rows that pass."""
        self.selections()
        return self.matches

    @property
    def selectivity(self) -> float:
        """Share of the rows that pass, 0 for an empty index."""
        return self.count() / self.snapshot.rows if self.snapshot.rows else 0.0

    @property
    def sql(self) -> str:
        """The bound filter as SQL text; opaque parts are named, not shown."""
        return str(to_sql(self.bound, self.snapshot.schema))

    def __repr__(self) -> str:
        try:
            return f"<Prepared: {self.sql}>"
        except ParameterError:
            return f"<Prepared: open parameters, bound so far: {self.params}>"


def prepare(
    snapshot: Snapshot, where: Any, params: Mapping[str, Any] | None, nulls: str | None
) -> Prepared:
    """Whatever is accepted as a filter, ready to run on a snapshot."""
    if params is not None and type(params) is not dict:
        check_mapping(params)
    if nulls is not None:
        check_nulls(nulls)
    if isinstance(where, Prepared):
        ready = where.of(snapshot)
        return ready.bind(**params) if params else ready
    return Prepared(snapshot, snapshot.template(where, nulls), params)
