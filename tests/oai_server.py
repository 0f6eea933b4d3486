"""A small server that speaks OAI-PMH, for harvests without network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<responseDate>2024-01-01T00:00:00Z</responseDate><request verb="ListRecords">x</request>
{body}
</OAI-PMH>
"""


def raw_record(fields: dict[str, Any]) -> str:
    """A record of the metadata snapshot as arXivRaw has it."""
    inner = "".join(
        f'<version version="{one["version"]}"><date>{one["created"]}</date></version>'
        for one in fields["versions"]
    )
    names = ("id", "submitter", "title", "authors", "categories", "comments", "journal-ref", "doi")
    for name in (*names, "license", "abstract"):
        if fields.get(name) is not None:
            inner += f"<{name}>{escape(fields[name])}</{name}>"
    return _record(fields, f'<arXivRaw xmlns="http://arxiv.org/OAI/arXivRaw/">{inner}</arXivRaw>')


def plain_record(fields: dict[str, Any]) -> str:
    """The same as the format arXiv has it: authors in parts, no submitter, no versions."""
    authors = "".join(
        f"<author><keyname>{escape(last)}</keyname><forenames>{escape(first)}</forenames></author>"
        for last, first, _ in fields["authors_parsed"]
    )
    inner = f"<authors>{authors}</authors><created>2009-03-01</created>"
    for name in ("id", "title", "categories", "comments", "license", "abstract"):
        if fields.get(name) is not None:
            inner += f"<{name}>{escape(fields[name])}</{name}>"
    return _record(fields, f'<arXiv xmlns="http://arxiv.org/OAI/arXiv/">{inner}</arXiv>')


def deleted_record(identifier: str) -> str:
    return (
        f'<record><header status="deleted"><identifier>oai:arXiv.org:{identifier}</identifier>'
        "<datestamp>2010-01-01</datestamp></header></record>"
    )


def _record(fields: dict[str, Any], metadata: str) -> str:
    return (
        f"<record><header><identifier>oai:arXiv.org:{fields['id']}</identifier>"
        f"<datestamp>{fields['update_date']}</datestamp><setSpec>cs</setSpec></header>"
        f"<metadata>{metadata}</metadata></record>"
    )


class Server:
    """Serves a list in pages, and misbehaves as it is told.

    requests: the queries that came, in order. busy: how many of the next requests get a 503, which
    asks to come again after a second. cut: how many of the next pages end in the middle. forget:
    tokens are unknown until the list was asked for anew.
    """

    def __init__(self, records: list[str], page: int) -> None:
        self.records, self.page = records, page
        self.requests: list[dict[str, str]] = []
        self.busy = self.cut = 0
        self.forget = False
        self.url = ""

    def answer(self, query: dict[str, str]) -> tuple[int, str]:
        """The status and the page for a query."""
        self.requests.append(query)
        if self.busy:
            self.busy -= 1
            return 503, ""
        token = query.get("resumptionToken")
        if query.get("verb") != "ListRecords":
            return 200, _error("badVerb")
        if token is None:
            self.forget = False
            if query.get("set") == "empty":
                return 200, _error("noRecordsMatch")
        elif self.forget:
            return 200, _error("badResumptionToken")
        start = int(token.partition("|")[2]) if token else 0
        chosen = "".join(self.records[start : start + self.page])
        following = start + self.page
        more = f"7|{following}" if following < len(self.records) else ""
        size = f'cursor="{start}" completeListSize="{len(self.records)}"'
        body = f"{chosen}<resumptionToken {size}>{more}</resumptionToken>"
        page = PAGE.format(body=f"<ListRecords>{body}</ListRecords>")
        if self.cut:
            self.cut -= 1
            page = page[: len(page) // 2]
        return 200, page


def _error(code: str) -> str:
    return PAGE.format(body=f'<error code="{code}">as the test wants it</error>')


@contextmanager
def serving(records: list[str], page: int) -> Iterator[Server]:
    """A server on this machine, at `url`, until the end of the block."""
    server = Server(records, page)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {n: v[0] for n, v in parse_qs(urlsplit(self.path).query).items()}
            status, page = server.answer(query)
            content = page.encode()
            self.send_response(status)
            if status == 503:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Type", "text/xml; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}/oai"
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
