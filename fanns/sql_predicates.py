"""One SQL predicate as a leaf: sqlglot's tree, read by an allow-list of its node types."""

from __future__ import annotations

from typing import Any

from sqlglot import TokenType, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError

from fanns.deferred import IsTrue, ParameterIsNull, conjunction, disjunction, negation
from fanns.errors import FilterSyntaxError
from fanns.expressions import (
    Column,
    Compare,
    CompareOp,
    Constant,
    In,
    IsNull,
    Node,
    Parameter,
    Term,
)
from fanns.sql_functions import has
from fanns.sql_literals import NOT_A_LITERAL, read_literal, shown
from fanns.sql_terms import READERS, list_of, literal_of, name_of, reader, refused, term_of

MAX_BRACKETS = 16
FLIPPED: dict[str, CompareOp] = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
PARTS = (
    *("this", "expression", "expressions", "low", "high", "field", "query", "unnest", "to"),
    *("table", "db", "catalog"),
)


def read_predicate(dialect: Dialect, tokens: list[Any], text: str) -> Node:
    """The leaf (or small tree) of the tokens of one predicate.

    Raises FilterSyntaxError naming the text that is not of the language.
    """
    source = text[tokens[0].start : tokens[-1].end + 1]
    _limit_nesting(tokens, source)
    try:
        found = dialect.parser().parse_into(exp.Condition, tokens, text)
    except ParseError as error:
        raise FilterSyntaxError(f"cannot read {shown(source)}: {_reason(error)}") from None
    except (TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
        # sqlglot's parser fails so on some malformed texts.
        raise FilterSyntaxError(f"cannot read {shown(source)}: {error}") from None
    if len(found) != 1 or found[0] is None:
        raise FilterSyntaxError(f"cannot read {shown(source)}: it is not one expression")
    try:
        for node in found[0].walk():
            _check_parts(node)
        return _read(found[0])
    except FilterSyntaxError as error:
        if shown(source) in str(error):
            raise
        raise FilterSyntaxError(f"{error} (in {shown(source)})") from None


def _limit_nesting(tokens: list[Any], source: str) -> None:
    """Brackets and runs of signs make sqlglot's parser recurse."""
    signs = (TokenType.DASH, TokenType.PLUS, TokenType.TILDE, TokenType.NOT)
    opening = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
    closing = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)
    depth = run = 0
    for token in tokens:
        kind = token.token_type
        depth += (kind in opening) - (kind in closing)
        run = run + 1 if kind in signs else 0
        if depth > MAX_BRACKETS or run > MAX_BRACKETS:
            raise FilterSyntaxError(
                f"more than {MAX_BRACKETS} brackets or signs are nested in {shown(source)}"
            )


def _check_parts(node: Any) -> None:
    """Nothing but the parts that the readers look at: no third argument, no type parameter."""
    for name, part in node.args.items():
        extra = isinstance(part, exp.Expression) or (isinstance(part, list) and part)
        known = name in PARTS and not (name == "expressions" and isinstance(node, exp.DataType))
        if extra and not known:
            raise FilterSyntaxError(f"{shown(node)} has a part that the filter language has not")


def _reason(error: ParseError) -> str:
    details = error.errors[0] if error.errors else {}
    reason = str(details.get("description") or "syntax error").rstrip(".")
    if "missing for" in reason:
        reason = "something is missing"
    near = details.get("highlight")
    return f"{reason} at {shown(near)} (names that are SQL words need double quotes)"


def _read(node: Any) -> Node:
    found = READERS.get(type(node))
    if found is None:
        raise refused(node)
    return found(node)


@reader(exp.Paren)
def _paren(node: exp.Paren) -> Node:
    return _read(node.this)


@reader(exp.And)
def _and(node: exp.And) -> Node:
    return conjunction(_read(node.this), _read(node.expression))


@reader(exp.Or)
def _or(node: exp.Or) -> Node:
    return disjunction(_read(node.this), _read(node.expression))


@reader(exp.Not)
def _not(node: exp.Not) -> Node:
    return negation(_read(node.this))


@reader(exp.Boolean)
def _boolean(node: exp.Boolean) -> Node:
    return Constant(bool(node.this))


@reader(exp.Null)
def _null(node: exp.Null) -> Node:
    return Constant(None)


@reader(exp.Column)
def _bare_column(node: exp.Column) -> Node:
    return Compare(Column(name_of(node)), "=", True)


@reader(exp.EQ)
def _eq(node: exp.EQ) -> Node:
    return _any_of(node) if isinstance(node.expression, exp.Any) else _compare(node, "=")


@reader(exp.NEQ)
def _neq(node: exp.NEQ) -> Node:
    return negation(_compare(node, "="))


@reader(exp.LT)
def _lt(node: exp.LT) -> Node:
    return _compare(node, "<")


@reader(exp.LTE)
def _lte(node: exp.LTE) -> Node:
    return _compare(node, "<=")


@reader(exp.GT)
def _gt(node: exp.GT) -> Node:
    return _compare(node, ">")


@reader(exp.GTE)
def _gte(node: exp.GTE) -> Node:
    return _compare(node, ">=")


def _compare(node: Any, op: CompareOp) -> Node:
    return _compare_sides(node, node.this, op, node.expression)


def _compare_sides(node: Any, left: Any, op: CompareOp, right: Any) -> Node:
    left_term, right_term = term_of(left), term_of(right)
    if left_term and right_term:
        raise FilterSyntaxError(
            f"{shown(node)} compares two columns: compare a column with a value, "
            "or use @fanns.predicate"
        )
    if left_term:
        return _against(left_term, op, literal_of(right))
    if right_term:
        return _against(right_term, FLIPPED[op], literal_of(left))
    return _compare_literals(node, literal_of(left), op, literal_of(right))


def _against(term: Term, op: CompareOp, value: Any) -> Node:
    return Constant(None) if value is None else Compare(term, op, value)


def _compare_literals(node: exp.Expression, left: Any, op: str, right: Any) -> Node:
    """Constants such as `1 = 1`, which generated SQL likes to begin with."""
    if left is None or right is None:
        return Constant(None)
    numbers = all(type(side) in (int, float) for side in (left, right))
    if not numbers and (type(left) is not type(right) or not isinstance(left, str | bool)):
        raise FilterSyntaxError(f"{shown(node)} has no column: compare a column with a value")
    less, equal = left < right, left == right
    return Constant({"=": equal, "<": less, "<=": less or equal}.get(op, op != ">" or not equal))


@reader(exp.NullSafeEQ)
def _not_distinct(node: exp.NullSafeEQ) -> Node:
    term, other = term_of(node.this), node.expression
    if term is None:
        term, other = term_of(node.expression), node.this
    if term is None or term_of(other):
        raise FilterSyntaxError(f"{shown(node)}: IS DISTINCT FROM needs a column and a value")
    value = literal_of(other)
    if value is None:
        return IsNull(term.name)
    equal = IsTrue(Compare(term, "=", value))
    if not isinstance(value, Parameter):
        return equal
    return disjunction(equal, conjunction(ParameterIsNull(value), IsNull(term.name)))


@reader(exp.NullSafeNEQ)
def _distinct(node: exp.NullSafeNEQ) -> Node:
    return negation(_not_distinct(node))  # type: ignore[arg-type]


@reader(exp.Between)
def _between(node: exp.Between) -> Node:
    if node.args.get("symmetric"):
        raise FilterSyntaxError(f"{shown(node)}: BETWEEN SYMMETRIC is not supported")
    return conjunction(
        _compare_sides(node, node.this, ">=", node.args["low"]),
        _compare_sides(node, node.this, "<=", node.args["high"]),
    )


@reader(exp.In)
def _in(node: exp.In) -> Node:
    if node.args.get("query") is not None or node.args.get("unnest") is not None:
        raise FilterSyntaxError(f"subqueries are not part of the filter language: {shown(node)}")
    field = node.args.get("field")
    term = term_of(node.this)
    if term is None:
        if isinstance(field, exp.Column):  # 'x' IN list_column
            return has(name_of(field), literal_of(node.this))
        raise FilterSyntaxError(f"{shown(node)}: IN needs a column before it")
    if field is None:
        return In(term, tuple(literal_of(value) for value in node.expressions))
    value = literal_of(field)
    if not isinstance(value, Parameter):
        raise FilterSyntaxError(f"{shown(node)}: IN needs a list of values or a :parameter")
    return In(term, value)


def _any_of(node: exp.EQ) -> Node:
    """`x = ANY(:list)` is IN; `'x' = ANY(column)` is list_contains."""
    inner = node.expression.this.unnest()
    term = term_of(node.this)
    if term is None and isinstance(inner, exp.Column):
        return has(name_of(inner), literal_of(node.this))
    if term is None:
        raise FilterSyntaxError(f"{shown(node)}: = ANY needs a column")
    return In(term, list_of(inner, node))


@reader(exp.Is)
def _is(node: exp.Is) -> Node:
    tested, value = node.this, node.expression
    if isinstance(value, exp.Null):
        return _is_null(tested)
    if not isinstance(value, exp.Boolean):
        raise FilterSyntaxError(f"{shown(node)}: IS needs NULL, TRUE or FALSE after it")
    condition = _read(tested)
    return IsTrue(condition if value.this else negation(condition))


def _is_null(tested: Any) -> Node:
    term = term_of(tested)
    if term:
        return IsNull(term.name)
    value = read_literal(tested)
    if isinstance(value, Parameter):
        return ParameterIsNull(value)
    if value is not NOT_A_LITERAL:
        return Constant(value is None)
    condition = _read(tested)  # null where neither it nor its opposite is true
    either = disjunction(IsTrue(condition), IsTrue(negation(condition)))
    return negation(either)
