"""From a bound filter to a program for each row of a segment, as `kernels.filter_program` says.

Where `evaluate` joins posting lists, a device that runs many filters at once looks at the codes of
every row. What codes cannot say (masks, ids, patterns, expressions) is evaluated here, and goes to
the device as a bitmap.
"""

from __future__ import annotations

from collections.abc import Mapping

from fanns.attributes import intervals
from fanns.attributes.dictionary import among
from fanns.attributes.evaluate import LOGIC, Codes, Evaluation
from fanns.attributes.intervals import Bounds
from fanns.attributes.leaves import values_of
from fanns.attributes.lists import ListColumn
from fanns.expressions import And, Constant, ListHas, Node, Not, Or
from fanns.kernels.filter_program import AND, CODES, CONSTANT, DEEPEST, LISTS, OR, WITHOUT, WORDS
from fanns.selection import Selection

Instruction = tuple[int, int, int, int]

MOST_PUSHED = 3
"""Values that a leaf has on the stack at once: lists that do not hold all of some values."""


class Programs:
    """The programs of a batch, one behind the other, and what they speak of.

    `instructions`: those of program i at starts[i] to starts[i + 1] - 1. `bounds` and `selections`
    are common to all; a selection that several programs speak of is there once.
    """

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.starts = [0]
        self.bounds: Bounds = []
        self.selections: list[Selection] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.starts) - 1

    def end(self) -> None:
        """What was written since the last one is a programs."""
        self.starts.append(len(self.instructions))

    def constant(self, value: bool) -> None:
        """Push what holds for every row."""
        self.instructions.append((CONSTANT, int(value), 0, 0))

    def within(self, operation: int, place: int, bounds: Bounds) -> None:
        """Push whether a column's codes lie within bounds."""
        start = len(self.bounds)
        self.bounds += bounds
        self.instructions.append((operation, place, start, len(self.bounds)))

    def rows(self, selection: Selection) -> None:
        """Push whether the row is selected."""
        if selection.count == 0 or selection.is_all:
            self.constant(selection.count > 0)
            return
        place = self._places.setdefault(id(selection), len(self.selections))
        if place == len(self.selections):
            self.selections.append(selection)
        self.instructions.append((WORDS, place, 0, 0))

    def join(self, operation: int) -> None:
        """Replace the two values on top by one."""
        self.instructions.append((operation, 0, 0, 0))


class ProgramWriter:
    """Writes the programs of filters over one segment.

    `scalars` and `lists` are the places of the columns whose codes the device has, by the `id` of
    `ScalarColumn` and `ListColumn`.
    """

    def __init__(
        self, evaluation: Evaluation, scalars: Mapping[int, int], lists: Mapping[int, int]
    ) -> None:
        self._evaluation = evaluation
        self._scalars, self._lists = scalars, lists

    def write(self, programs: Programs, bound: Node, live: Selection | None) -> None:
        """Add the program for which a live row's result is that of the filter."""
        self._push(programs, bound, False, 0)
        if live is not None:
            programs.rows(live)
            programs.join(AND)
        programs.end()

    def _push(self, programs: Programs, node: Node, negated: bool, depth: int) -> None:
        """Push whether the node is true; with `negated`, whether it is false."""
        if isinstance(node, Not):
            self._push(programs, node.arg, not negated, depth)
        elif depth > DEEPEST - MOST_PUSHED:
            programs.rows(self._evaluation.select(node, negated))
        elif isinstance(node, LOGIC):
            self._join(programs, node, negated, depth)
        elif isinstance(node, Constant):
            programs.constant(node.value is not None and node.value is not negated)
        elif isinstance(node, ListHas):
            self._list_has(programs, node, negated)
        else:
            codes = self._evaluation.codes(node, negated)
            if codes is None:
                programs.rows(self._evaluation.select(node, negated))
            else:
                self._codes(programs, codes)

    def _join(self, programs: Programs, node: And | Or, negated: bool, depth: int) -> None:
        """Push all of the arguments, or any of them."""
        every = isinstance(node, And) is not negated
        merge, operation = (intervals.intersect, AND) if every else (intervals.unite, OR)
        merged, others = self._evaluation.parts(node.args, negated, merge)
        pushed = 0
        for codes in merged:
            self._codes(programs, codes)
            pushed += 1
            if pushed > 1:
                programs.join(operation)
        for other in others:
            self._push(programs, other, negated, depth + min(pushed, 1))
            pushed += 1
            if pushed > 1:
                programs.join(operation)
        if not pushed:
            programs.constant(every)

    def _codes(self, programs: Programs, codes: Codes) -> None:
        place = self._scalars.get(id(codes.column))
        if place is None:
            programs.rows(codes.column.postings.select(codes.bounds))
        elif not codes.bounds:
            programs.constant(False)
        else:
            programs.within(CODES, place, codes.bounds)

    def _list_has(self, programs: Programs, node: ListHas, negated: bool) -> None:
        column = self._evaluation.column_of(node)
        place = self._lists.get(id(column))
        values = values_of(node)
        if place is None or not isinstance(column, ListColumn) or not values:
            programs.rows(self._evaluation.select(node, negated))
            return
        if negated:
            programs.rows(column.present)
        wanted = [values] if node.op == "any" else [(value,) for value in values]
        for number, some in enumerate(wanted):
            bounds = among(column.dictionary, some)
            if bounds:
                programs.within(LISTS, place, bounds)
            else:
                programs.constant(False)
            if number:
                programs.join(AND)
        if negated:
            programs.join(WITHOUT)
