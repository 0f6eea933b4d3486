"""An OAI-PMH harvest as a source of records: arXiv's own server, or another of its formats.

The protocol: Lagoze, Van de Sompel, Nelson, Warner, "The Open Archives Initiative Protocol for
Metadata Harvesting", version 2.0. A list comes in pages; each but the last has a token that asks
for the next. Requests are made by oaipmh-scythe (extra `datasets`), one at a time, with a pause
between them; arXiv asks for three seconds. A server's wish to be asked later is followed.

Every page is kept on disk before the next is asked for, so a harvest that was interrupted goes on
at the page where it was. Where the server has forgotten that place meanwhile, the list is asked for
once more from its beginning, and records that came already are passed over.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from fanns.errors import InputError, MissingDependencyError, StorageError

from .arxiv_records import Broken, Raw

ARXIV = "https://oaipmh.arxiv.org/oai"
PAUSE = 3.0  # seconds between requests, arXiv's terms of use
ATTEMPTS = 5
WAIT = 60.0  # seconds until the next attempt where the server does not say
BUSY = (429, 500, 502, 503, 504)
FORMATS = ("arXivRaw", "arXiv")
_OAI = "{http://www.openarchives.org/OAI/2.0/}"
_TEXTS = ("title", "comments", "journal-ref", "doi", "license", "abstract", "categories")


class Harvest:
    """The records of a server's list.

    url: the server's base URL, with what to list as its query: `set`, `from`, `until`,
        `metadataPrefix` (arXivRaw, which has submitters and versions, or arXiv).
    folder: where pages are kept. pause: seconds between requests. wait: seconds before another
        attempt where the server is busy and does not say when.
    """

    def __init__(self, url: str, folder: Path, pause: float = PAUSE, wait: float = WAIT) -> None:
        """Raises InputError for a URL whose query this cannot ask."""
        parts = urlsplit(url)
        self.name = url
        self.base = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        asked = dict(parse_qsl(parts.query))
        self.prefix = asked.pop("metadataPrefix", FORMATS[0])
        if self.prefix not in FORMATS:
            raise InputError(
                f"metadataPrefix={self.prefix} in {url}: {' or '.join(FORMATS)} can be"
            )
        if asked.pop("verb", "ListRecords") != "ListRecords":
            raise InputError(f"{url} asks for another verb than ListRecords: leave it out")
        if strange := sorted(set(asked) - {"set", "from", "until"}):
            raise InputError(f"{url} has {', '.join(strange)}; set, from and until can be given")
        self.asked = asked
        self.folder = folder / f"oai-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
        self.pause, self.wait = pause, wait

    def identity(self) -> dict[str, Any]:
        return {"name": self.name}

    def read(self, after: int = 0) -> Iterator[Raw | Broken]:
        """Records, counted from 1 over all pages; those deleted at the server are left out.

        Raises InputError when the server cannot be reached, refuses, or answers something else.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        number, seen = 0, set[str]()
        for page in self._pages():
            for element in page.iter(f"{_OAI}record"):
                number += 1
                found = _fields(element)
                if found is None:
                    continue
                again = found["id"] in seen
                seen.add(str(found["id"]))
                if number > after:
                    yield Raw(number, found, again)

    def _pages(self) -> Iterator[Any]:
        """The pages on disk, then those that the server still has."""
        token: str | None = None
        count = 0
        while (path := self._page(count)).exists():
            page = _parsed(gzip.decompress(path.read_bytes()))
            yield page
            token, count = _token(page), count + 1
        if count and token is None:
            return
        for content in self._asked(token):
            _keep(self._page(count), content)
            count += 1
            yield _parsed(content)

    def _page(self, number: int) -> Path:
        return self.folder / f"page-{number:06d}.xml.gz"

    def _asked(self, token: str | None) -> Iterator[bytes]:
        """Whole pages from the server, from the one that a token asks for."""
        scythe = _library()
        retries = scythe.RetryConfig(
            max_retries=ATTEMPTS,
            retry_status_codes=BUSY,
            default_retry_after=self.wait,
            retry_on_transport_error=True,
            initial_backoff=self.wait / 20,
        )
        agent = scythe.HTTPConfig(user_agent="fanns dataset generator (oaipmh-scythe)")
        beginning = {"verb": "ListRecords", "metadataPrefix": self.prefix, **self.asked}
        forgotten = False
        with scythe.Scythe(self.base, http_config=agent, retry_config=retries) as client:
            while True:
                query = beginning
                if token is not None:
                    query = {"verb": "ListRecords", "resumptionToken": token}
                try:
                    content = self._whole(client, query)
                except scythe.exceptions.BadResumptionToken as error:
                    if token is None or forgotten:
                        raise self._refused(error) from error
                    token, forgotten = None, True
                    continue
                yield content
                token = _token(_parsed(content))
                if token is None:
                    return
                time.sleep(self.pause)

    def _whole(self, client: Any, query: dict[str, str]) -> bytes:
        """One page; asked for again where it was cut off on its way.

        Raises InputError, and BadResumptionToken where the server has forgotten the token.
        """
        scythe = _library()
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(max(self.pause, self.wait / 20))
            try:
                content: bytes = client.harvest(query).http_response.content
            except scythe.exceptions.BadResumptionToken:
                raise
            except scythe.exceptions.NoRecordsMatch as error:
                raise InputError(f"{self.name}: the server has no such records") from error
            except scythe.exceptions.OAIPMHException as error:
                raise self._refused(error) from error
            except scythe.client.httpx2.HTTPError as error:
                raise InputError(
                    f"{self.base} cannot be harvested: {str(error) or type(error).__name__}; the "
                    "same command goes on where this one ended"
                ) from error
            if re.search(rb"</(?:\w+:)?OAI-PMH>\s*$", content):
                return content
        raise InputError(f"{self.base} does not answer with whole pages of OAI-PMH")

    def _refused(self, error: Exception) -> InputError:
        return InputError(f"{self.base} refuses: {type(error).__name__}: {error}")


def _fields(element: Any) -> dict[str, Any] | None:
    """One <record> as fields of a raw record; None for one that was deleted.

    update_date is the datestamp of the server, as in arXiv's metadata snapshot.
    """
    header = element.find(f"{_OAI}header")
    metadata = element.find(f"{_OAI}metadata")
    if header is None or header.get("status") == "deleted" or metadata is None or not len(metadata):
        return None
    inner = metadata[0]
    space = inner.tag.partition("}")[0] + "}"
    fields: dict[str, Any] = {name: _text(inner, space + name) for name in _TEXTS}
    fields["id"] = _text(inner, f"{space}id")
    fields["update_date"] = _text(header, f"{_OAI}datestamp")
    if space.endswith("/arXivRaw/}"):
        fields["submitter"] = _text(inner, f"{space}submitter")
        fields["authors"] = _text(inner, f"{space}authors")
        fields["versions"] = [
            {"version": one.get("version"), "created": _text(one, f"{space}date")}
            for one in inner.iter(f"{space}version")
        ]
    else:
        fields["created"] = _text(inner, f"{space}created")
        fields["authors_parsed"] = [
            [_text(one, space + part) or "" for part in ("keyname", "forenames", "suffix")]
            for one in inner.iter(f"{space}author")
        ]
    return fields


def _text(element: Any, path: str) -> str | None:
    found = element.findtext(path)
    return None if found is None else str(found)


def _token(page: Any) -> str | None:
    """What asks for the next page; None on the last."""
    for element in page.iter(f"{_OAI}resumptionToken"):
        return (element.text or "").strip() or None
    return None


def _parsed(content: bytes) -> Any:
    """The XML of a page; signs that XML forbids are passed over, entities are not followed."""
    _library()
    from lxml import etree

    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True)
    found = etree.fromstring(content, parser)
    if found is None:
        raise InputError("a page of the harvest holds no XML")
    return found


def _keep(path: Path, content: bytes) -> None:
    """Writes a page, there whole or not at all; the same content gives the same bytes."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            file.write(gzip.compress(content, mtime=0))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def _library() -> Any:
    try:
        import oaipmh_scythe
        import oaipmh_scythe.client
        import oaipmh_scythe.exceptions
    except ImportError as error:
        raise MissingDependencyError(
            "harvests need oaipmh-scythe: pip install 'fanns[datasets]'"
        ) from error
    return oaipmh_scythe
