r"""Names and texts of arXiv's metadata as plain Unicode: LaTeX accents, lists of authors.

arXiv's submission guide asks for accents in LaTeX (`G\"odel`, `Erd{\H o}s`). Mathematics stays as
it is written. The LaTeX itself is read by pylatexenc (extra `datasets`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from fanns.errors import MissingDependencyError

# An accent over one letter, or a letter of its own: what LaTeX writes where Unicode has one sign.
_LETTER = r"(?:\{\s*\\?[A-Za-z]\s*\}|\\[ij](?![A-Za-z])|[A-Za-z])"
_ACCENT = (
    rf"\\[\"'`^~=.]\s*{_LETTER}"
    r"|\\[uvHcdbkr](?:\s*\{\s*\\?[A-Za-z]\s*\}|\s+[A-Za-z](?![A-Za-z]))"
    r"|\\(?:ss|ae|AE|oe|OE|aa|AA|dj|DJ|dh|DH|th|TH|ng|NG|o|O|l|L|i|j)(?:\{\}|\s|(?![A-Za-z]))"
)
_MATH = r"\$\$.*?\$\$|\$[^$]*\$|\\\(.*?\\\)|\\\[.*?\\\]"
_MATH_OR_ACCENT = re.compile(rf"(?P<math>{_MATH})|\{{(?:{_ACCENT})\}}|{_ACCENT}", re.DOTALL)
_LATEX = re.compile(r"[\\{}~]")
_LOOSE_MARK = re.compile(r"(?:^|(?<=\s))[\u0300-\u036f]+")

_AND = re.compile(r"\s*(?:,|;|&|\band\b)\s*", re.IGNORECASE)
_ON_BEHALF = re.compile(r"\b(?:on behalf of|for|representing)\s+(?:the\s+)?(?=[^,]*Collaboration)")
_COLLABORATION = re.compile(r"(Collaboration[^,:;]*?)\s*:\s*", re.IGNORECASE)
_SUFFIX = re.compile(r"(?:Jr|Sr|II|III|IV)\.?", re.IGNORECASE)
_OTHERS = re.compile(r"(?:\bet\.?\s+al\b\.?|\(?\bothers\)?)\s*$", re.IGNORECASE)


def text(written: str) -> str:
    r"""A title or an abstract in one line: accents as letters, mathematics untouched, NFC.

    >>> text("On  G\\\"odel's\n  $\\alpha$ {\\'E}tale")
    "On Gödel's $\\alpha$ Étale"
    """
    if "\\" in written:
        written = _MATH_OR_ACCENT.sub(_accent, written)
    return squeeze(written)


def squeeze(written: str) -> str:
    """In one line, single spaces, composed characters (NFC), without control characters."""
    line = " ".join(written.split())
    if line.isascii() and line.isprintable():
        return line
    if not line.isprintable():
        line = " ".join("".join(c if c.isprintable() else " " for c in line).split())
    return unicodedata.normalize("NFC", line)


def name(written: str) -> str:
    r"""A name in Unicode.

    >>> name("P.~Erd{\\H o}s")
    'P. Erdős'
    """
    if _LATEX.search(written):
        written = _LOOSE_MARK.sub("", _unicode(written).replace("\xa0", " "))
    return squeeze(written)


def names_of_parts(parsed: Sequence[Sequence[str | None]]) -> list[str]:
    """Names "First Last Jr." of arXiv's `authors_parsed`: lists of last name, first name, suffix,
    and what follows, which is left out (affiliations).
    """
    found = []
    for parts in parsed:
        last, first, suffix, *_ = [part or "" for part in parts] + ["", "", ""]
        if full := name(" ".join(filter(None, (first, last, suffix)))):
            found.append(full)
    return found


def names_of_line(authors: str) -> list[str]:
    """Names of arXiv's older `authors`: one text, as the submitter wrote it.

    Names are separated by commas, semicolons, "and" or "&"; what stands in parentheses are
    affiliations; a suffix belongs to the name before it; "et al." is nobody.

    >>> names_of_line("A. B. Smith, Jr. (1 and 2), Carl Gauss and D. Lee (3) ((1) MIT, (2) CERN)")
    ['A. B. Smith Jr.', 'Carl Gauss', 'D. Lee']
    >>> names_of_line("ATLAS Collaboration: G. Aad, B. Abbott, et al.")
    ['ATLAS Collaboration', 'G. Aad', 'B. Abbott']
    """
    line = _ON_BEHALF.sub(", ", _COLLABORATION.sub(r"\1, ", _outside_parentheses(name(authors))))
    found: list[str] = []
    for part in _AND.split(line):
        part = _OTHERS.sub("", part).strip(" .") if _OTHERS.search(part) else part.strip()
        if not any(c.isalpha() for c in part):
            continue
        if found and _SUFFIX.fullmatch(part):
            found[-1] = f"{found[-1]} {part}"
        else:
            found.append(part)
    return found


def _outside_parentheses(line: str) -> str:
    """Without what parentheses hold, however deep; one that is never closed ends the line."""
    kept, depth = [], 0
    for sign in line:
        depth += sign == "("
        if depth == 0:
            kept.append(sign)
        if sign == ")" and depth:
            depth -= 1
    return "".join(kept)


def _accent(match: re.Match[str]) -> str:
    if match["math"] is not None:
        return match["math"]
    return _unicode(match[0])


@lru_cache(maxsize=100_000)
def _unicode(latex: str) -> str:
    """LaTeX as text; a percent sign is one, not the beginning of a comment."""
    converted: str = _converter().latex_to_text(re.sub(r"(?<!\\)%", r"\\%", latex))
    return converted


@lru_cache(maxsize=1)
def _converter() -> Any:
    try:
        from pylatexenc.latex2text import LatexNodes2Text
    except ImportError as error:
        raise MissingDependencyError(
            "accents written in LaTeX are read by pylatexenc: pip install 'fanns[datasets]'"
        ) from error
    return LatexNodes2Text(math_mode="verbatim")
