"""Attributes of arXiv records: the eleven of the arxiv-for-fanns benchmark, and some more.

The eleven, with names and types of "Benchmarking Filtered Approximate Nearest Neighbor Search
Algorithms on Transformer-based Embedding Vectors" (Iff et al., 2025, Table 3): submitter,
has_comments, number_of_main_categories, main_categories, number_of_sub_categories, sub_categories,
license, number_of_versions, update_date (days since 1970-01-01), number_of_authors, authors.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable
from typing import Any

import pyarrow as pa

from . import arxiv_dates, arxiv_names

_TEXTS = pa.list_(pa.field("element", pa.string()))  # named as Parquet names it
ATTRIBUTES = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("abstract", pa.string()),
        ("primary_category", pa.string()),
        ("submitter", pa.string()),
        ("has_comments", pa.bool_()),
        ("number_of_main_categories", pa.int32()),
        ("main_categories", _TEXTS),  # archives, each once: math.CO gives math
        ("number_of_sub_categories", pa.int32()),
        ("sub_categories", _TEXTS),
        ("license", pa.string()),
        ("number_of_versions", pa.int32()),
        ("update_date", pa.int32()),  # days since 1970-01-01: last update, else submission
        ("number_of_authors", pa.int32()),
        ("authors", _TEXTS),  # "First Last"
        ("doi", pa.string()),
        ("journal_ref", pa.string()),
        ("pages", pa.int32()),  # as the comments tell them, else null
        ("figures", pa.int32()),
        ("abstract_length", pa.int32()),  # characters
        ("submitted_date", pa.date32()),
        ("year", pa.int32()),  # of submission; as the id tells it where the date is unknown
    ]
)
THE_ELEVEN = (
    "submitter",
    "has_comments",
    "number_of_main_categories",
    "main_categories",
    "number_of_sub_categories",
    "sub_categories",
    "license",
    "number_of_versions",
    "update_date",
    "number_of_authors",
    "authors",
)
# Of which columns of a record one must be there for the attribute to be.
_NEEDS = {
    "submitter": ("submitter",),
    "has_comments": ("comments",),
    "pages": ("comments",),
    "figures": ("comments",),
    "license": ("license",),
    "number_of_versions": ("versions",),
    "update_date": ("update_date", "versions", "submitted_date"),
    "number_of_authors": ("authors", "authors_parsed"),
    "authors": ("authors", "authors_parsed"),
    "doi": ("doi",),
    "journal_ref": ("journal_ref",),
    "submitted_date": ("submitted_date",),
}

_WORDS = {"no": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
_WORDS |= {"eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12}
_NUMBER = rf"(?<![\d.])(?P<count>\d{{1,4}}|\b(?:{'|'.join(_WORDS)}))(?:\.\d)?"
# Up to two words may stand between: "12 LaTeX pages", "3 (colour) .eps figures", "8+4 pages".
_BETWEEN = r"(?:\s*\+\s*(?P<more>\d{0,3}))?[\s-]*(?:(?!pages?\b|pp\b)\(?[A-Za-z.-]+\)?[\s,]+){0,2}?"
_NO_PLACE = r"\b(?!\.?\s*\d)"  # "pp. 12-15" and "fig. 3" are places, not counts
_PAGES = re.compile(rf"{_NUMBER}{_BETWEEN}(?:pages?|pagers?|pgs?|pp){_NO_PLACE}", re.IGNORECASE)
_FIGURES = re.compile(rf"{_NUMBER}{_BETWEEN}\.?(?:figures?|figs?){_NO_PLACE}", re.IGNORECASE)


def attributes(records: pa.Table) -> pa.Table:
    """The attributes of records (columns of arxiv_records.RECORD), row by row.

    A column that the records do not have gives no attribute: see `omitted`.
    """
    left_out = omitted(records.column_names)
    target = pa.schema([field for field in ATTRIBUTES if field.name not in left_out])
    rows = [_row(record) for record in records.to_pylist()]
    return pa.Table.from_pylist(rows, schema=target)


def omitted(columns: Collection[str]) -> list[str]:
    """The attributes that records of these columns cannot have."""
    return [
        name
        for name in ATTRIBUTES.names
        if name in _NEEDS and not any(column in columns for column in _NEEDS[name])
    ]


def count_of(comments: str | None, pattern: re.Pattern[str]) -> int | None:
    """How many pages or figures comments tell of, None where they do not."""
    match = pattern.search(comments or "")
    if match is None:
        return None
    told = match["count"].lower()
    return (_WORDS[told] if told in _WORDS else int(told)) + int(match["more"] or 0)


def pages(comments: str | None) -> int | None:
    """
    >>> pages("27 Pages with 4 figures"), pages("8 + 4 pages"), pages("pp. 3-9")
    (27, 12, None)
    """
    return count_of(comments, _PAGES)


def figures(comments: str | None) -> int | None:
    """
    >>> figures("6pages,10figures"), figures("20 pages, two eps figures"), figures(None)
    (10, 2, None)
    """
    return count_of(comments, _FIGURES)


def archives(categories: Iterable[str]) -> list[str]:
    """
    >>> archives(["math.CO", "cs.DM", "math.PR", "hep-th"])
    ['math', 'cs', 'hep-th']
    """
    return list(dict.fromkeys(category.partition(".")[0] for category in categories))


def _row(record: dict[str, Any]) -> dict[str, Any]:
    categories = record["categories"]
    main = archives(categories)
    authors = _authors(record)
    versions, comments = record.get("versions"), record.get("comments")
    submitted = record.get("submitted_date")
    updated = _updated(record)
    abstract = arxiv_names.text(record["abstract"])
    return {
        "id": record["id"],
        "title": arxiv_names.text(record["title"]),
        "abstract": abstract,
        "primary_category": categories[0],
        "submitter": _named(record.get("submitter")),
        "has_comments": comments is not None,
        "number_of_main_categories": len(main),
        "main_categories": main,
        "number_of_sub_categories": len(categories),
        "sub_categories": categories,
        "license": _squeezed(record.get("license")),
        "number_of_versions": None if versions is None else len(versions),
        "update_date": None if updated is None else arxiv_dates.days_since_1970(updated),
        "number_of_authors": None if authors is None else len(authors),
        "authors": authors,
        "doi": _squeezed(record.get("doi")),
        "journal_ref": _squeezed(record.get("journal_ref")),
        "pages": pages(comments),
        "figures": figures(comments),
        "abstract_length": len(abstract),
        "submitted_date": submitted,
        "year": arxiv_dates.year_of_id(record["id"]) if submitted is None else submitted.year,
    }


def _authors(record: dict[str, Any]) -> list[str] | None:
    """Names, from the parsed form where there is one, else from the one line; None if unknown."""
    names: list[str] = []
    if record.get("authors_parsed"):
        names = arxiv_names.names_of_parts(record["authors_parsed"])
    if not names and record.get("authors"):
        names = arxiv_names.names_of_line(record["authors"])
    return names or None


def _updated(record: dict[str, Any]) -> dt.date | None:
    """The day of the last update, else of the last version, else of the submission."""
    if record.get("update_date") is not None:
        return record["update_date"]  # type: ignore[no-any-return]
    created = [one["created"] for one in record.get("versions") or [] if one["created"] is not None]
    return max(created).date() if created else record.get("submitted_date")


def _named(name: str | None) -> str | None:
    return None if name is None else arxiv_names.name(name) or None


def _squeezed(text: str | None) -> str | None:
    return None if text is None else arxiv_names.squeeze(text) or None
