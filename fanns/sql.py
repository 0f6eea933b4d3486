"""SQL boolean text as a tree: the connectives and parentheses, without recursion.

The text is cut into tokens by sqlglot (DuckDB's dialect). AND, OR, NOT and the parentheses around
whole conditions are read here, so that nesting never meets Python's recursion limit; what is left
are single predicates, which `fanns.sql_predicates` reads from sqlglot's own tree by an allow-list.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlglot import TokenType
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import TokenError

from fanns.deferred import MAX_DEPTH, conjunction, disjunction, negation, walk
from fanns.errors import FilterSyntaxError
from fanns.expressions import Node
from fanns.sql_predicates import read_predicate

MAX_TEXT = 200_000
CACHED_TEXT = 4_000
DIALECT = Dialect.get_or_raise("duckdb")

_OPENING = {
    TokenType.L_PAREN: TokenType.R_PAREN,
    TokenType.L_BRACKET: TokenType.R_BRACKET,
    TokenType.L_BRACE: TokenType.R_BRACE,
}
_AFTER_GROUP = (TokenType.AND, TokenType.OR, TokenType.R_PAREN)


def parse_sql(text: str) -> Node:
    """The tree of one SQL boolean expression.

    Raises:
        FilterSyntaxError: naming the text that is not of the language.
        FilterError: nested more than MAX_DEPTH levels deep.
    """
    if len(text) > MAX_TEXT:
        raise FilterSyntaxError(
            f"the filter has {len(text):,} characters, at most {MAX_TEXT:,} are read: pass long "
            "lists as parameters (x IN :values)"
        )
    return _parse_cached(text) if len(text) <= CACHED_TEXT else _parse(text)


def _parse(text: str) -> Node:
    try:
        tree = _Connectives(text).read()
    except RecursionError:
        raise FilterSyntaxError("the filter is nested too deeply: flatten it") from None
    for _ in walk(tree):  # refuses trees too deep for the recursion of later steps
        pass
    return tree


_parse_cached = lru_cache(maxsize=1024)(_parse)


class _Frame:
    """What has been read of one pair of parentheses."""

    def __init__(self, negated: bool) -> None:
        self.negated = negated  # NOT stood before the parenthesis
        self.pending_not = False
        self.ors: list[Node] = []
        self.ands: list[Node] = []

    def operand(self, node: Node) -> None:
        self.ands.append(negation(node) if self.pending_not else node)
        self.pending_not = False

    def end_of_and(self) -> None:
        self.ors.append(conjunction(*self.ands))
        self.ands = []

    def close(self) -> Node:
        self.end_of_and()
        node = disjunction(*self.ors)
        return negation(node) if self.negated else node


class _Connectives:
    """Reads tokens from left to right with an explicit stack of open parentheses."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.closing = _match_brackets(text, self.tokens)

    def read(self) -> Node:
        stack = [_Frame(False)]
        at = 0
        while True:
            at = self._operand(at, stack)
            while at < len(self.tokens) and self._type(at) == TokenType.R_PAREN:
                inner = stack.pop().close()
                stack[-1].operand(inner)
                at += 1
            if at == len(self.tokens):
                return stack[0].close()
            if self._type(at) == TokenType.OR:
                stack[-1].end_of_and()
            elif self._type(at) != TokenType.AND:
                raise self._error(at, "expected AND or OR before")
            at += 1

    def _operand(self, at: int, stack: list[_Frame]) -> int:
        """Reads NOTs, opening parentheses and one predicate; the position behind it."""
        while at < len(self.tokens):
            kind = self._type(at)
            if kind == TokenType.NOT:
                stack[-1].pending_not = not stack[-1].pending_not
            elif kind == TokenType.L_PAREN and self._is_group(at):
                if len(stack) > 2 * MAX_DEPTH:
                    raise FilterSyntaxError(
                        f"more than {2 * MAX_DEPTH} parentheses are open at once"
                    )
                stack.append(_Frame(stack[-1].pending_not))
                stack[-2].pending_not = False
            else:
                return self._predicate(at, stack[-1])
            at += 1
        raise FilterSyntaxError(
            f"the filter ends where a condition is expected: {_tail(self.text)}"
        )

    def _is_group(self, at: int) -> bool:
        """Whether the parentheses enclose a whole condition, not a value or list."""
        behind = self.closing[at] + 1
        return behind == len(self.tokens) or self._type(behind) in _AFTER_GROUP

    def _predicate(self, at: int, frame: _Frame) -> int:
        end = self._end_of_predicate(at)
        if end == at:
            raise self._error(at, "expected a condition before")
        frame.operand(read_predicate(DIALECT, self.tokens[at:end], self.text))
        return end

    def _end_of_predicate(self, at: int) -> int:
        """The position of the AND, OR or `)` that ends it; BETWEEN has an AND of its own."""
        between = 0
        while at < len(self.tokens):
            kind = self._type(at)
            if kind in _OPENING:
                at = self.closing[at]
            elif kind == TokenType.BETWEEN:
                between += 1
            elif kind == TokenType.AND and between:
                between -= 1
            elif kind in _AFTER_GROUP:
                break
            at += 1
        return at

    def _type(self, at: int) -> TokenType:
        kind: TokenType = self.tokens[at].token_type
        return kind

    def _error(self, at: int, message: str) -> FilterSyntaxError:
        return FilterSyntaxError(f"{message} {_tail(self.text[self.tokens[at].start :])}")


def _tokens(text: str) -> list[Any]:
    try:
        tokens = DIALECT.tokenize(text)
    except TokenError as error:
        raise FilterSyntaxError(f"cannot read {_tail(text)}: {error}") from None
    if not tokens:
        raise FilterSyntaxError(f"there is no condition in {_tail(text)}")
    for before, token in zip([None, *tokens], tokens, strict=False):
        if (
            _is_colon_at(before, token.start - 1)
            and text[token.start : token.end + 1].isidentifier()
        ):
            token.token_type = TokenType.VAR  # any word names a parameter, :values and :from too
            continue
        if token.token_type == TokenType.SEMICOLON:
            rest = _tail(text[token.start :])
            raise FilterSyntaxError(f"a filter is one expression without ';', found {rest}")
        if token.token_type == TokenType.SELECT:
            rest = _tail(text[token.start :])
            raise FilterSyntaxError(f"subqueries are not part of the filter language: {rest}")
        if token.token_type == TokenType.VAR and token.text.upper() == "IF":
            # sqlglot would log a warning and read the rest as a command.
            rest = _tail(text[token.start :])
            raise FilterSyntaxError(f"IF is a SQL word, a column needs double quotes: {rest}")
    return list(tokens)


def _is_colon_at(token: Any, place: int) -> bool:
    return token is not None and token.token_type == TokenType.COLON and token.end == place


def _match_brackets(text: str, tokens: list[Any]) -> dict[int, int]:
    """The position of the closing bracket for each opening one."""
    closing: dict[int, int] = {}
    open_at: list[int] = []
    ends = set(_OPENING.values())
    for at, token in enumerate(tokens):
        if token.token_type in _OPENING:
            open_at.append(at)
        elif token.token_type in ends:
            if not open_at or _OPENING[tokens[open_at[-1]].token_type] != token.token_type:
                raise FilterSyntaxError(f"nothing opens {_tail(text[token.start :])}")
            closing[open_at.pop()] = at
    if open_at:
        rest = _tail(text[tokens[open_at[-1]].start :])
        raise FilterSyntaxError(f"nothing closes the bracket of {rest}")
    return closing


def _tail(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
