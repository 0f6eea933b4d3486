"""Harvests by OAI-PMH from a local server: whole, interrupted, refused, cut off, forgotten."""

import itertools
import time
from pathlib import Path

import pytest

from fanns.datasets.arxiv_attributes import attributes
from fanns.datasets.arxiv_oai import Harvest
from fanns.datasets.arxiv_records import Raw, record, table
from fanns.errors import InputError
from tests.arxiv_files import snapshot_record
from tests.oai_server import deleted_record, plain_record, raw_record, serving

pytest.importorskip("oaipmh_scythe")
pytest.importorskip("pylatexenc")

RECORDS = [raw_record(snapshot_record(n)) for n in range(24)]


def harvest(url: str, folder: Path, query: str = "") -> Harvest:
    return Harvest(url + query, folder, pause=0.0, wait=0.1)


def read(harvest: Harvest, after: int = 0) -> list[Raw]:
    found = list(harvest.read(after))
    assert all(isinstance(one, Raw) for one in found)
    return [one for one in found if isinstance(one, Raw)]


def ids(harvest: Harvest, after: int = 0) -> list[str]:
    return [one.fields["id"] for one in read(harvest, after) if not one.again]


ALL = [snapshot_record(n)["id"] for n in range(24)]


def test_a_harvest_gives_what_the_snapshot_gives(tmp_path: Path) -> None:
    with serving(RECORDS, 10) as server:
        found = [record(raw.fields) for raw in read(harvest(server.url, tmp_path, "?set=cs"))]
    assert server.requests[0] == {
        "verb": "ListRecords",
        "metadataPrefix": "arXivRaw",
        "set": "cs",
    }
    assert server.requests[1] == {"verb": "ListRecords", "resumptionToken": "7|10"}
    assert len(server.requests) == 3
    made = attributes(table(one.values for one in found)).to_pylist()
    expected = attributes(table(record(snapshot_record(n)).values for n in range(24))).to_pylist()
    for one, other in zip(made, expected, strict=True):
        assert one == other


def test_the_other_format_and_deleted_records(tmp_path: Path) -> None:
    records = [plain_record(snapshot_record(n)) for n in range(4)]
    records.insert(2, deleted_record("0704.0002"))
    with serving(records, 10) as server:
        found = read(harvest(server.url, tmp_path, "?metadataPrefix=arXiv"))
    assert [one.line for one in found] == [1, 2, 4, 5]  # the third is gone, and counts
    made = attributes(table(record(one.fields).values for one in found)).to_pylist()
    expected = attributes(table([record(snapshot_record(0)).values])).to_pylist()[0]
    assert made[0]["authors"] == expected["authors"]
    assert made[0]["update_date"] == expected["update_date"]
    assert made[0]["submitted_date"].isoformat() == "2009-03-01"


@pytest.mark.parametrize("taken", [1, 10, 11, 23])
def test_an_interrupted_harvest_goes_on(taken: int, tmp_path: Path) -> None:
    with serving(RECORDS, 10) as server:
        list(itertools.islice(harvest(server.url, tmp_path).read(), taken))
        asked = len(server.requests)
        assert asked == (taken + 9) // 10  # a page is asked for when it is needed
        assert ids(harvest(server.url, tmp_path)) == ALL
        assert len(server.requests) == 3  # no page twice
        assert ids(harvest(server.url, tmp_path), after=15) == ALL[15:]
        assert len(server.requests) == 3
    assert ids(harvest(server.url, tmp_path)) == ALL  # the server is gone by now


def test_a_forgotten_token_asks_for_the_list_again(tmp_path: Path) -> None:
    with serving(RECORDS, 10) as server:
        list(itertools.islice(harvest(server.url, tmp_path).read(), 15))
        server.forget = True
        found = read(harvest(server.url, tmp_path), after=20)
    assert [one.fields["id"] for one in found if not one.again] == ALL[20:]
    assert sum(one.again for one in found) == 20
    assert sorted(ids(harvest(server.url, tmp_path))) == sorted(ALL)


def test_a_server_that_is_busy_or_cuts_pages_off_is_asked_again(tmp_path: Path) -> None:
    with serving(RECORDS, 10) as server:
        server.busy, server.cut = 1, 1
        started = time.monotonic()
        assert ids(harvest(server.url, tmp_path)) == ALL
        assert time.monotonic() - started >= 1.0  # as Retry-After wants it
        assert len(server.requests) == 5


def test_pages_come_with_a_pause(tmp_path: Path) -> None:
    with serving(RECORDS, 10) as server:
        started = time.monotonic()
        assert ids(Harvest(server.url, tmp_path, pause=0.2)) == ALL
    assert time.monotonic() - started >= 0.4


def test_what_cannot_be_harvested_is_told(tmp_path: Path) -> None:
    with serving(RECORDS, 10) as server:
        with pytest.raises(InputError, match="no such records"):
            ids(harvest(server.url, tmp_path, "?set=empty"))
        server.cut = 99
        with pytest.raises(InputError, match="whole pages"):
            ids(harvest(server.url, tmp_path))
        url = server.url
    with pytest.raises(InputError, match="cannot be harvested"):
        ids(harvest(url, tmp_path / "x"))
    for query, word in [
        ("?metadataPrefix=oai_dc", "arXivRaw or arXiv"),
        ("?verb=Identify", "another verb"),
        ("?page=3", "set, from and until"),
    ]:
        with pytest.raises(InputError, match=word):
            harvest(url, tmp_path, query)
