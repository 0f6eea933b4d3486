"""The one form of raw arXiv records, whatever source they come from.

`record` makes it of one record's fields as a source spells them: the official metadata snapshot
(arxiv-metadata-oai-snapshot.json), arXiv's OAI-PMH formats, or a table of like columns. Texts stay
as they are written; `arxiv_attributes` makes attributes of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from . import arxiv_dates

RECORD = pa.schema(
    [
        ("id", pa.string()),
        ("submitter", pa.string()),
        ("authors", pa.string()),  # one text, as the submitter wrote it
        ("authors_parsed", pa.list_(pa.list_(pa.string()))),  # last, first, suffix, affiliations
        ("title", pa.string()),
        ("comments", pa.string()),
        ("journal_ref", pa.string()),
        ("doi", pa.string()),
        ("categories", pa.list_(pa.string())),  # the primary one first
        ("license", pa.string()),
        ("abstract", pa.string()),
        (
            "versions",
            pa.list_(pa.struct([("version", pa.string()), ("created", pa.timestamp("s"))])),
        ),
        ("submitted_date", pa.date32()),
        ("update_date", pa.date32()),  # of the last update; null where there was none
    ]
)
NEEDED = ("id", "title", "abstract", "categories")

# What sources call the columns, where that is another name.
ALIASES = {
    "journal_ref": ("journal-ref",),
    "license": ("licence",),
    "categories": ("category", "primary_category"),
    "comments": ("comment",),
    "submitted_date": ("created", "published"),
    "update_date": ("updated_date", "updated"),
}
_COLUMN_OF = {
    **{name: name for name in RECORD.names},
    **{alias: name for name, aliases in ALIASES.items() for alias in aliases},
}
_SPELLINGS = {name: (name, *ALIASES.get(name, ())) for name in RECORD.names}
_TEXTS = ("submitter", "title", "comments", "journal_ref", "doi", "license", "abstract")


class Raw(NamedTuple):
    """The fields of one record as its source has them, and its line (or row) there, from 1 on.

    again: the source gave this record before, as it may, and it is passed over.
    """

    line: int
    fields: Mapping[str, Any]
    again: bool = False


class Broken(NamedTuple):
    """A record that cannot be used: its line (or row) in its source, from 1 on, and why."""

    line: int
    reason: str


class Source(Protocol):
    """Where records come from.

    name: what the source is called in reports and in the manifest: no folder of this machine.
    """

    @property
    def name(self) -> str: ...

    def identity(self) -> dict[str, Any]:
        """What tells this source from others, for JSON: a run is not resumed with another."""

    def read(self, after: int = 0) -> Iterator[Raw | Broken]:
        """Its records from line `after` + 1 on. The same source gives the same ones again.

        Raises InputError when nothing of it can be read.
        """


class BrokenRecord(ValueError):
    """The fields are no record that can be used; says why."""


class Record(NamedTuple):
    """A record in the form of RECORD; the columns that its source has, null or not; and the dates
    that could not be read and are null.
    """

    values: dict[str, Any]
    columns: frozenset[str]
    odd_dates: list[str]


def columns_of(names: Iterable[str]) -> frozenset[str]:
    """The columns of RECORD that fields of these names give."""
    found = {_COLUMN_OF[name] for name in names if name in _COLUMN_OF}
    if "versions" in found:
        found.add("submitted_date")
    if "authors" in found:  # which may be a list of names
        found.add("authors_parsed")
    return frozenset(found)


def record(fields: Mapping[str, Any]) -> Record:
    """One record in the form of RECORD.

    Raises BrokenRecord when id, title, abstract or categories are missing or blank, or a field is
    of a type that it cannot have. Other fields may be missing, null or blank: they are null.
    """
    odd: list[str] = []
    values: dict[str, Any] = dict.fromkeys(RECORD.names)
    for name in _TEXTS:
        values[name] = _text(name, _field(fields, name))
    identifier = _field(fields, "id")
    key = _text("id", str(identifier) if type(identifier) is int else identifier)
    values["id"] = key and key.strip()
    values["categories"] = _categories(fields)
    values |= _authors(fields)
    values["versions"] = _versions(_field(fields, "versions"), odd)
    for name in ("submitted_date", "update_date"):
        values[name] = _day(name, _field(fields, name), odd)
    values["submitted_date"] = values["submitted_date"] or _first(values["versions"])
    if missing := [name for name in NEEDED if not values[name]]:
        raise BrokenRecord(f"{' and '.join(missing)} missing or blank")
    return Record(values, columns_of(fields), odd)


def table(records: Iterable[dict[str, Any]]) -> pa.Table:
    """Records, each a dict of RECORD's columns, as a table."""
    return pa.Table.from_pylist(list(records), schema=RECORD)


def _field(fields: Mapping[str, Any], name: str) -> Any:
    """The value under any of a column's names."""
    for spelling in _SPELLINGS[name]:
        if (value := fields.get(spelling)) is not None:
            return value
    return None


def _text(name: str, value: Any) -> str | None:
    """A text; None where it is blank. Raises BrokenRecord for other types and for half characters
    (lone surrogates, which JSON's escapes can spell and UTF-8 cannot).
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise BrokenRecord(f"{name} is {_called(value)}, expected a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BrokenRecord(f"{name} holds half a character (a lone surrogate)") from error
    return value if value.strip() else None


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise BrokenRecord(f"{name} is {_called(value)}, expected a list")
    return [found for one in value if (found := _text(f"an item of {name}", one)) is not None]


def _categories(fields: Mapping[str, Any]) -> list[str]:
    """Each category once, in its order, the primary one first."""
    value, primary = _field(fields, "categories"), fields.get("primary_category")
    if isinstance(value, str):
        value = value.split()
    found = [] if value is None else _texts("categories", value)
    found = [part for one in found for part in one.split()]  # older snapshots: ["math.CO cs.CG"]
    if isinstance(primary, str) and primary.strip():
        found.insert(0, primary.strip())
    if len(" ".join(found)) > 10_000:
        raise BrokenRecord("categories are longer than 10,000 characters")
    for one in found:
        _text("an item of categories", one)
    return list(dict.fromkeys(found))


def _authors(fields: Mapping[str, Any]) -> dict[str, Any]:
    """authors and authors_parsed; a list of whole names stands for last names alone."""
    line, parsed = _field(fields, "authors"), _field(fields, "authors_parsed")
    if isinstance(line, list):
        parsed = parsed or [[one, "", ""] for one in _texts("authors", line)]
        line = None
    if parsed is not None:
        if not isinstance(parsed, list):
            raise BrokenRecord(f"authors_parsed is {_called(parsed)}, expected a list")
        parsed = [_parts(one) for one in parsed]
    return {"authors": _text("authors", line), "authors_parsed": parsed}


def _parts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise BrokenRecord(f"an author in authors_parsed is {_called(value)}, expected a list")
    return [_text("a part of authors_parsed", one) or "" for one in value]


def _versions(value: Any, odd: list[str]) -> list[dict[str, Any]] | None:
    """Versions in their order; where a source tells only how many or their names, without dates."""
    if value is None:
        return None
    if type(value) is int:
        if not 0 < value < 10_000:
            raise BrokenRecord(f"versions is {value}, expected a list or a positive number")
        return [{"version": f"v{n}", "created": None} for n in range(1, value + 1)]
    if not isinstance(value, list):
        raise BrokenRecord(f"versions is {_called(value)}, expected a list")
    found: list[dict[str, Any]] = []
    for number, one in enumerate(value, start=1):
        if isinstance(one, str):  # older snapshots: ["v1", "v2"]
            found.append({"version": _text("version", one), "created": None})
            continue
        if not isinstance(one, Mapping):
            raise BrokenRecord(f"a version is {_called(one)}, expected an object")
        created = one.get("created")
        moment = arxiv_dates.moment(created)
        if moment is None:
            odd.append(f"versions: {str(created)[:40]!r}")
        label = _text("version", one.get("version")) or f"v{number}"
        found.append({"version": label, "created": moment})
    return found or None


def _first(versions: list[dict[str, Any]] | None) -> Any:
    """The day of the first version, if it is known."""
    created = versions[0]["created"] if versions else None
    return None if created is None else created.date()


def _day(name: str, value: Any, odd: list[str]) -> Any:
    found = None if value is None else arxiv_dates.day(value)
    if found is None and value is not None:
        odd.append(f"{name}: {str(value)[:40]!r}")
    return found


def _called(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else "no text")
