"""Programs of filters against the selections of the same filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fanns.attributes import AttributeIndex
from fanns.attributes.evaluate import Evaluation
from fanns.attributes.lists import ListColumn
from fanns.attributes.program import Programs, ProgramWriter
from fanns.attributes.scalar import ScalarColumn
from fanns.expressions import Node, Not, Or
from fanns.kernels import filter_program as program
from fanns.schema import ColumnType
from fanns.selection import Selection
from tests.attribute_data import Context, compare
from tests.attribute_helpers import Case, cases, trees


def columns_of(
    index: AttributeIndex, context: Context
) -> tuple[list[ScalarColumn], list[ListColumn]]:
    """All columns that have codes, the lengths of lists too."""
    scalars, lists = [], []
    for name in index.names:
        column = index.column(name, context)
        if isinstance(column, ListColumn):
            lists.append(column)
            scalars.append(column.lengths)
        elif isinstance(column, ScalarColumn):
            scalars.append(column)
    return scalars, lists


def interpreted(
    made: Programs, number: int, n: int, scalars: list[ScalarColumn], lists: list[ListColumn]
) -> list[int]:
    """The rows for which a program leaves true, by its definition."""
    first, last = made.starts[number : number + 2]
    passing = []
    for row in range(n):
        stack: list[bool] = []
        for operation, place, start, stop in made.instructions[first:last]:
            inside = made.bounds[start:stop]
            ranges = list(zip(inside[::2], inside[1::2], strict=True))
            codes: Any = ()
            if operation == program.CODES:
                codes = [scalars[place].codes[row]]
            elif operation == program.LISTS:
                held = lists[place]
                codes = held.codes[held.starts[row] : held.starts[row + 1]]
            if operation in (program.CODES, program.LISTS):
                stack.append(any(low <= code < high for code in codes for low, high in ranges))
            elif operation == program.WORDS:
                stack.append(bool(made.selections[place].mask()[row]))
            elif operation == program.CONSTANT:
                stack.append(bool(place))
            else:
                top, below = stack.pop(), stack.pop()
                joined = {
                    program.AND: below and top,
                    program.OR: below or top,
                    program.WITHOUT: below and not top,
                }
                stack.append(joined[operation])
            assert len(stack) <= program.DEEPEST
        assert len(stack) == 1
        if stack[0]:
            passing.append(row)
    return passing


@given(st.data(), cases(max_rows=30), st.booleans())
def test_programs_select_what_filters_select(
    data: st.DataObject, case: Case, resident: bool
) -> None:
    index = AttributeIndex.build(case.table, case.schema)
    context = Context(index.n, case.table)
    scalars, lists = columns_of(index, context)
    held = (scalars, lists) if resident else ([], [])
    places = [{id(column): i for i, column in enumerate(some)} for some in held]
    writer = ProgramWriter(Evaluation(index, context), *places)
    mask = np.random.default_rng(index.n).random(index.n) < 0.7
    live = Selection.from_mask(mask)
    drawn = data.draw(st.lists(trees(case.schema), min_size=2, max_size=4))
    made = Programs()
    for tree in drawn:
        writer.write(made, tree, None)
        writer.write(made, tree, live)
    assert len(made) == 2 * len(drawn)
    for number, tree in enumerate(drawn):
        expected = index.select(tree, context)
        for place, rows in [(2 * number, expected), (2 * number + 1, expected & live)]:
            assert interpreted(made, place, index.n, scalars, lists) == rows.rows().tolist()


def test_nesting_deeper_than_the_stack_is_evaluated_beforehand() -> None:
    table = pa.table({"v": pa.array([0, 1, 5, None, 40, 90])})
    index = AttributeIndex.build(table, {"v": ColumnType("int")})
    context = Context(index.n, table)
    scalars, lists = columns_of(index, context)
    tree: Node = compare("v", ">", 1)
    for value in range(3 * program.DEEPEST):
        tree = Or((compare("v", "=", value), Not(Or((compare("v", "<", value), Not(tree))))))
    made = Programs()
    ProgramWriter(Evaluation(index, context), {id(scalars[0]): 0}, {}).write(made, tree, None)
    assert made.selections
    found = interpreted(made, 0, index.n, scalars, lists)
    assert found == index.select(tree, context).rows().tolist()
