"""One SQL predicate as a leaf: sqlglot's tree, read by an allow-list of its node types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlglot import TokenType, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError

from fanns.deferred import IsTrue, ParameterIsNull, affix, conjunction, disjunction, negation
from fanns.errors import FilterSyntaxError
from fanns.expressions import (
    Column,
    Compare,
    CompareOp,
    Constant,
    In,
    IsNull,
    Length,
    Like,
    ListHas,
    ListOp,
    Node,
    Parameter,
    Term,
)
from fanns.sql_literals import NOT_A_LITERAL, is_null_value, read_literal, shown

MAX_BRACKETS = 16
FLIPPED: dict[str, CompareOp] = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
FUNCTIONS = (
    "list_contains, list_has_any, list_has_all, len, starts_with, ends_with, contains, "
    "CAST of a literal"
)
LENGTHS = ("cardinality", "array_length", "len", "length")
LIST_FUNCTIONS: dict[str, ListOp] = {
    "list_has_any": "any",
    "array_has_any": "any",
    "list_has_all": "all",
    "array_has_all": "all",
}
PARTS = (
    *("this", "expression", "expressions", "low", "high", "field", "query", "unnest", "to"),
    *("table", "db", "catalog"),
)
AFFIXES = {"prefix": ("", "%"), "suffix": ("%", "")}

Reader = Callable[[Any], Node]
R = TypeVar("R", bound=Reader)
_READERS: dict[type[exp.Expression], Reader] = {}


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


def reader(*kinds: type[exp.Expression]) -> Callable[[R], R]:
    """Register how nodes of these types are read; nodes of other types are refused."""

    def register(function: R) -> R:
        for kind in kinds:
            _READERS[kind] = function
        return function

    return register


def _read(node: Any) -> Node:
    found = _READERS.get(type(node))
    if found is None:
        raise _refused(node)
    return found(node)


def _refused(node: Any) -> FilterSyntaxError:
    if isinstance(node, exp.Func):
        return FilterSyntaxError(
            f"{shown(node)}: not a function of the filter language, which has {FUNCTIONS}"
        )
    if isinstance(node, exp.Literal | exp.Placeholder | exp.Cast | exp.Neg):
        return FilterSyntaxError(f"{shown(node)} is a value, expected a condition")
    return FilterSyntaxError(f"{shown(node)} is not part of the filter language")


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
    return Compare(Column(_name(node)), "=", True)


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
    left_term, right_term = _term(left), _term(right)
    if left_term and right_term:
        raise FilterSyntaxError(
            f"{shown(node)} compares two columns: compare a column with a value, "
            "or use @fanns.predicate"
        )
    if left_term:
        return _against(left_term, op, _literal(right))
    if right_term:
        return _against(right_term, FLIPPED[op], _literal(left))
    return _compare_literals(node, _literal(left), op, _literal(right))


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
    term, other = _term(node.this), node.expression
    if term is None:
        term, other = _term(node.expression), node.this
    if term is None or _term(other):
        raise FilterSyntaxError(f"{shown(node)}: IS DISTINCT FROM needs a column and a value")
    value = _literal(other)
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
    term = _term(node.this)
    if term is None:
        if isinstance(field, exp.Column):  # 'x' IN list_column
            return _has(_name(field), "any", (_literal(node.this),), node)
        raise FilterSyntaxError(f"{shown(node)}: IN needs a column before it")
    if field is None:
        return In(term, tuple(_literal(value) for value in node.expressions))
    value = _literal(field)
    if not isinstance(value, Parameter):
        raise FilterSyntaxError(f"{shown(node)}: IN needs a list of values or a :parameter")
    return In(term, value)


def _any_of(node: exp.EQ) -> Node:
    """`x = ANY(:list)` is IN; `'x' = ANY(column)` is list_contains."""
    inner = node.expression.this.unnest()
    term = _term(node.this)
    if term is None and isinstance(inner, exp.Column):
        return _has(_name(inner), "any", (_literal(node.this),), node)
    if term is None:
        raise FilterSyntaxError(f"{shown(node)}: = ANY needs a column")
    return In(term, _list_of(inner, node))


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
    term = _term(tested)
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


@reader(exp.Like, exp.ILike)
def _like(node: exp.Like | exp.ILike) -> Node:
    return _like_escaped(node, None)


@reader(exp.Escape)
def _escape(node: exp.Escape) -> Node:
    escape = read_literal(node.expression)
    if not isinstance(escape, str) or len(escape) > 1:
        raise FilterSyntaxError(f"{shown(node)}: ESCAPE needs one character")
    like = node.this
    if isinstance(like, exp.Not):
        return negation(_like_escaped(like.this, escape or None))
    return _like_escaped(like, escape or None)


def _like_escaped(node: Any, escape: str | None) -> Node:
    if not isinstance(node, exp.Like | exp.ILike):
        raise _refused(node)
    name = _column_of(node, node.this)
    pattern = _text(node, node.expression)
    if pattern is None:
        return Constant(None)
    found = Like(name, pattern, escape, not isinstance(node, exp.ILike))
    return negation(found) if node.args.get("negate") else found


@reader(exp.StartsWith)
def _starts_with(node: exp.StartsWith) -> Node:
    return _affix(node, node.this, node.expression, "", "%")


@reader(exp.EndsWith)
def _ends_with(node: exp.EndsWith) -> Node:
    return _affix(node, node.this, node.expression, "%", "")


@reader(exp.Contains)
def _contains(node: exp.Contains) -> Node:
    return _affix(node, node.this, node.expression, "%", "%")


def _affix(node: exp.Expression, column: Any, text: Any, before: str, after: str) -> Node:
    name = _column_of(node, column)
    value = _text(node, text)
    return Constant(None) if value is None else affix(name, value, before, after)


@reader(exp.ArrayContains)
def _list_contains(node: exp.ArrayContains) -> Node:
    return _has(_column_of(node, node.this), "any", (_literal(node.expression),), node)


@reader(exp.ArrayOverlaps)
def _overlaps(node: exp.ArrayOverlaps) -> Node:
    left, right = node.this, node.expression
    if not isinstance(left.unnest(), exp.Column):  # && is symmetric
        left, right = right, left
    return _has_list(node, left, "any", right)


@reader(exp.ArrayContainsAll)
def _contains_all(node: exp.ArrayContainsAll) -> Node:
    return _has_list(node, node.this, "all", node.expression)


@reader(exp.ArrayContainedBy)
def _contained_by(node: exp.ArrayContainedBy) -> Node:
    return _has_list(node, node.expression, "all", node.this)


def _has_list(node: exp.Expression, column: Any, op: ListOp, values: Any) -> Node:
    name = _column_of(node, column)
    if is_null_value(values):
        return Constant(None)
    return ListHas(name, op, _list_of(values, node))


def _has(name: str, op: ListOp, values: tuple[Any, ...], node: exp.Expression) -> Node:
    return Constant(None) if None in values else ListHas(name, op, values)


@reader(exp.Anonymous)
def _function(node: exp.Anonymous) -> Node:
    """Functions that sqlglot has no type for."""
    name, args = str(node.this).lower(), node.expressions
    if name in LIST_FUNCTIONS and len(args) == 2:
        return _has_list(node, args[0], LIST_FUNCTIONS[name], args[1])
    if name in AFFIXES and len(args) == 2:
        return _affix(node, args[0], args[1], *AFFIXES[name])
    raise _refused(node)


def _term(node: Any) -> Term | None:
    """A column or the length of one; None for anything else."""
    node = node.unnest()
    if isinstance(node, exp.Column):
        return Column(_name(node))
    length = isinstance(node, exp.Length | exp.ArraySize)
    if length or (isinstance(node, exp.Anonymous) and str(node.this).lower() in LENGTHS):
        args = [node.this] if length else node.expressions
        if len(args) != 1 or node.args.get("expression") is not None:
            raise FilterSyntaxError(f"{shown(node)}: len() takes one list column")
        return Length(_column_of(node, args[0]))
    return None


def _column_of(node: Any, column: Any) -> str:
    column = column.unnest()
    if not isinstance(column, exp.Column):
        raise FilterSyntaxError(f"{shown(node)}: expected a column instead of {shown(column)}")
    return _name(column)


def _name(column: exp.Column) -> str:
    if len(column.parts) != 1 or not isinstance(column.this, exp.Identifier):
        raise FilterSyntaxError(
            f"{shown(column)} is not one column name: put names with dots in double quotes"
        )
    return str(column.this.this)


def _literal(node: Any) -> Any:
    value = read_literal(node)
    if value is NOT_A_LITERAL:
        raise FilterSyntaxError(f"{shown(node)} is not a literal or :parameter")
    return value


def _text(node: exp.Expression, value: Any) -> Any:
    found = _literal(value)
    if found is not None and not isinstance(found, str | Parameter):
        raise FilterSyntaxError(f"{shown(node)}: the pattern must be a string")
    return found


def _list_of(values: Any, node: exp.Expression) -> tuple[Any, ...] | Parameter:
    values = values.unnest()
    if isinstance(values, exp.Array):
        return tuple(_literal(value) for value in values.expressions)
    found = read_literal(values)
    if not isinstance(found, Parameter):
        raise FilterSyntaxError(f"{shown(node)}: expected a list ['a', 'b'] or a :parameter")
    return found
