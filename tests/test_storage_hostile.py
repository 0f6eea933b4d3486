"""Damaged and forged indexes: an error names the file before any kernel could read it."""

import contextlib
import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from fanns import catalog
from fanns.errors import CorruptIndexError, NotAnIndexError, StorageError
from fanns.storage import Directory
from tests.storage_helpers import BULK, assert_is_sample, forge, make_index, touch_all

SEGMENT = "segment-000001"
MODES: list[Literal["r", "w"]] = ["r", "w"]
FILES = [
    "catalog.sqlite",
    "catalog.seal",
    f"{SEGMENT}/vectors-bulk.bin",
    f"{SEGMENT}/vectors.bin",
    f"{SEGMENT}/graph.bin",
    f"{SEGMENT}/attributes.bin",
    f"{SEGMENT}/dates-0.arrow",
    f"{SEGMENT}/texts-1.arrow",
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that tests damage and mend again."""
    return make_index(tmp_path_factory.mktemp("sound") / "x.fanns")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index to ruin."""
    return make_index(tmp_path / "x.fanns")


def test_the_list_of_files_is_complete(sound: Path) -> None:
    found = {str(p.relative_to(sound)) for p in sound.rglob("*") if p.is_file()}
    assert found == {*FILES, "writer.lock"}
    assert (sound / "writer.lock").stat().st_size == 0


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=40)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_flipped_bit(sound: Path, name: str, place: float, bit: int) -> None:
    """Found at open (catalog), at first touch (structural) or by verify (all), naming the file."""
    path = sound / name
    content = path.read_bytes()
    offset = int(place * len(content))
    flipped = bytearray(content)
    flipped[offset] ^= 1 << bit
    path.write_bytes(flipped)
    try:
        if "/" not in name:
            with pytest.raises(CorruptIndexError):
                Directory.open(sound)
            return
        with Directory.open(sound) as directory:
            (problem,) = directory.verify()
            assert path.name in problem
            with contextlib.ExitStack() as stack:
                if path.name in ("vectors.bin", "attributes.bin"):  # the bit may lie between arrays
                    stack.enter_context(contextlib.suppress(CorruptIndexError))
                elif "bulk" in name:
                    assert directory.segments[0].array("vectors/data").shape == (40, 8)
                elif path.name != "texts-1.arrow":
                    stack.enter_context(pytest.raises(CorruptIndexError, match=path.name))
                if path.name != "texts-1.arrow":
                    found = touch_all(directory.segments[0])
                    if "bulk" not in name:
                        assert_equal_structure(found, sound, content, path)
        with pytest.raises(CorruptIndexError, match=path.name):
            Directory.open(sound, check=True)
    finally:
        path.write_bytes(content)


def assert_equal_structure(
    found: dict[str, object], index: Path, content: bytes, path: Path
) -> None:
    """What a first touch let through is what was written, although its file is damaged."""
    damaged = {name: np.array(a) for name, a in found.items() if isinstance(a, np.ndarray)}
    flipped = path.read_bytes()
    path.write_bytes(content)
    try:
        with Directory.open(index) as directory:
            for name, array in damaged.items():
                np.testing.assert_array_equal(directory.segments[0].array(name), array)
    finally:
        path.write_bytes(flipped)


def check_truncations(index: Path, name: str, count: int) -> None:
    path = index / name
    content = path.read_bytes()
    rng = random.Random(name)
    lengths = {0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(count))}
    try:
        for length in lengths:
            path.write_bytes(content[:length])
            with pytest.raises(CorruptIndexError, match=path.name):
                Directory.open(index)
        path.write_bytes(content + b"\0")
        with pytest.raises(CorruptIndexError, match=path.name):
            Directory.open(index)
        path.unlink()
        if name == "catalog.sqlite":
            with pytest.raises(NotAnIndexError):
                Directory.open(index)
        elif "/" in name:
            with pytest.raises(CorruptIndexError, match="missing"):
                Directory.open(index)
    finally:
        path.write_bytes(content)
    assert_is_sample(index)


@pytest.mark.parametrize("name", FILES)
def test_truncated_lengthened_or_lost(sound: Path, name: str) -> None:
    check_truncations(sound, name, 8)


def test_unsealed_catalog_is_still_checked(sound: Path, tmp_path: Path) -> None:
    """As after a crash: every flip is found, or is of a bit that holds nothing."""
    path = tmp_path / "x.fanns"
    shutil.copytree(sound, path)
    (path / catalog.SEAL).unlink()
    expected = catalog.read_manifest(path)
    content = (path / catalog.CATALOG).read_bytes()
    rng = random.Random(5)
    found = 0
    for _ in range(300):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (path / catalog.CATALOG).write_bytes(flipped)
        try:
            assert catalog.read_manifest(path) == expected
        except StorageError:
            found += 1
    assert found > 5


FORGERIES = {
    "path upwards": "UPDATE file SET name = '../../etc/passwd' WHERE name = 'graph.bin'",
    "absolute path": "UPDATE file SET name = '/etc/passwd' WHERE name = 'graph.bin'",
    "path downwards": "UPDATE file SET name = 'a/graph.bin' WHERE name = 'graph.bin'",
    "NUL in a name": "UPDATE file SET name = 'graph.bin' || char(0) WHERE name = 'graph.bin'",
    "name that is a blob": "UPDATE file SET name = x'ff00' WHERE name = 'graph.bin'",
    "unlisted file": "UPDATE array SET file = 'other.bin' WHERE name = 'graph/links'",
    "lost row": "DELETE FROM file WHERE name = 'graph.bin'",
    "huge shape": "UPDATE array SET shape = '4611686018427387000,8' WHERE name = 'vectors/data'",
    "overflowing shape": "UPDATE array SET shape = '4294967296,4294967296,40,6' "
    "WHERE name = 'graph/links'",
    "empty but huge": "UPDATE array SET bytes = 0, shape = '0,4611686018427387000' "
    "WHERE name = 'graph/links'",
    "negative shape": "UPDATE array SET shape = '-40,-6' WHERE name = 'graph/links'",
    "endless digits": "UPDATE array SET shape = printf('%.*c', 10000, '9') "
    "WHERE name = 'graph/links'",
    "many dimensions": "UPDATE array SET shape = '1,1,1,1,1,1,1,1,240' WHERE name = 'graph/links'",
    "words for a shape": "UPDATE array SET shape = 'forty' WHERE name = 'graph/links'",
    "shape unlike bytes": "UPDATE array SET shape = '40,7' WHERE name = 'graph/links'",
    "offset before the file": "UPDATE array SET offset = -64 WHERE name = 'graph/links'",
    "offset beyond the file": "UPDATE array SET offset = 64 WHERE name = 'graph/links'",
    "offset unaligned": "UPDATE array SET offset = 4, bytes = 64, shape = '16' "
    "WHERE name = 'graph/links'",
    "overlapping arrays": "UPDATE array SET offset = 0 WHERE name = 'attributes/year/words'",
    "length of words": "UPDATE array SET bytes = 'many' WHERE name = 'graph/links'",
    "length of a float": "UPDATE array SET bytes = 960.5 WHERE name = 'graph/links'",
    "file length": "UPDATE file SET bytes = 99999999999 WHERE name = 'graph.bin'",
    "objects": "UPDATE array SET dtype = '|O', shape = '120' WHERE name = 'graph/links'",
    "text": "UPDATE array SET dtype = '<U1' WHERE name = 'graph/links'",
    "records": "UPDATE array SET dtype = 'i4,i4', shape = '120' WHERE name = 'graph/links'",
    "big-endian": "UPDATE array SET dtype = '>i4' WHERE name = 'graph/links'",
    "array as table": "UPDATE array SET dtype = 'arrow' WHERE name = 'attributes/year/codes'",
    "checksum": "UPDATE array SET checksum = 'none' WHERE name = 'graph/links'",
    "meta that is a list": "UPDATE segment SET meta = '[]'",
    "meta of great depth": "UPDATE segment SET meta = printf('%.*c', 100000, '[')",
    "settings that are no JSON": "UPDATE state SET value = '{' WHERE key = 'settings'",
    "settings with endless digits": "UPDATE state SET value = '{\"a\":' || "
    "printf('%.*c', 10000, '9') || '}' WHERE key = 'settings'",
    "segment number": "UPDATE segment SET id = -1",
    "segment elsewhere": "UPDATE segment SET id = 5; UPDATE file SET segment = 5; "
    "UPDATE array SET segment = 5",
    "trigger": "CREATE TRIGGER t AFTER INSERT ON segment BEGIN DELETE FROM file; END",
    "view": "CREATE VIEW v AS SELECT load_extension('x')",
    "further table": "CREATE TABLE extra (a)",
    "older format": "PRAGMA user_version = 0",
    "application id": "PRAGMA application_id = 1",
}


@pytest.mark.parametrize("statements", FORGERIES.values(), ids=FORGERIES.keys())
def test_forged_catalog(index: Path, statements: str) -> None:
    forge(index, *statements.split(";") if "TRIGGER" not in statements else [statements])
    for mode in MODES:
        with pytest.raises(CorruptIndexError):
            Directory.open(index, mode)


def test_newer_format_says_upgrade(index: Path) -> None:
    forge(index, "PRAGMA user_version = 99", "CREATE TABLE extra (a)")
    with pytest.raises(StorageError, match="upgrade fanns") as caught:
        Directory.open(index)
    assert not isinstance(caught.value, CorruptIndexError | NotAnIndexError)


def test_foreign_paths(tmp_path: Path) -> None:
    with pytest.raises(NotAnIndexError, match="does not exist"):
        Directory.open(tmp_path / "nothing.fanns")
    empty = tmp_path / "empty"
    empty.mkdir()
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    other = tmp_path / "other"
    other.mkdir()
    with contextlib.closing(sqlite3.connect(other / catalog.CATALOG)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    for path in (empty, file, tmp_path, other):
        before = sorted(p.name for p in tmp_path.rglob("*"))
        for mode in MODES:
            with pytest.raises(NotAnIndexError, match=path.name):
                Directory.open(path, mode)
        assert sorted(p.name for p in tmp_path.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")
@pytest.mark.parametrize("name", FILES)
def test_links_and_pipes_are_refused(index: Path, tmp_path: Path, name: str) -> None:
    path = index / name
    moved = tmp_path / "moved"
    path.rename(moved)
    makers: list[Callable[[], None]] = [
        lambda: path.symlink_to(moved),
        lambda: os.mkfifo(path),
        lambda: path.symlink_to("/dev/zero"),
    ]
    for make in makers:
        make()
        with pytest.raises(StorageError, match=path.name):
            Directory.open(index)
        path.unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_linked_segment_is_refused(index: Path, tmp_path: Path) -> None:
    (index / SEGMENT).rename(tmp_path / "moved")
    (index / SEGMENT).symlink_to(tmp_path / "moved")
    with pytest.raises(CorruptIndexError, match="link"):
        Directory.open(index)


def replace_table(index: Path, name: str, content: bytes) -> None:
    """Another content for a table's file, with a catalog that agrees."""
    (index / SEGMENT / name).write_bytes(content)
    checksum = xxhash.xxh3_128_hexdigest(content)
    change = f"SET checksum = '{checksum}', bytes = {len(content)}"
    forge(
        index,
        f"UPDATE file {change} WHERE name = '{name}'",
        f"UPDATE array {change} WHERE file = '{name}'",
    )


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_compressed_tables_are_refused(index: Path, codec: str, dictionary: bool) -> None:
    """A few bytes could ask for any amount of memory."""
    column = pa.array(["a" * 50, "b", None])
    table = pa.table({"day": column.dictionary_encode() if dictionary else column})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    replace_table(index, "dates-0.arrow", sink.getvalue().to_pybytes())
    with Directory.open(index) as directory, pytest.raises(CorruptIndexError, match="compressed"):
        directory.segments[0].table("dates")


def test_garbage_for_a_table(index: Path) -> None:
    original = (index / SEGMENT / "texts-1.arrow").read_bytes()
    rng = random.Random(3)
    contents = [b"", b"ARROW1\0\0", rng.randbytes(500)]
    for _ in range(100):
        changed = bytearray(original)
        for _ in range(rng.choice((1, 4, 16))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        contents.append(bytes(changed))
    refused = 0
    forge(index, "UPDATE array SET bulk = 0 WHERE name = 'texts'")
    for content in contents:
        replace_table(index, "texts-1.arrow", content)
        with Directory.open(index) as directory:
            try:
                directory.segments[0].table("texts").to_pylist()
            except CorruptIndexError as error:
                assert "texts-1.arrow" in str(error)
                refused += 1
    assert refused > 10


def test_stale_seal_beside_a_log_is_no_damage(index: Path) -> None:
    """While a writer works the catalog changes; a reader that saw the seal before must not cry."""
    with Directory.open(index, "w") as directory:
        assert not (index / catalog.SEAL).exists()
        directory.set_settings({"seed": 8})
        assert Directory.open(index).settings == {"seed": 8}
    assert (index / catalog.SEAL).exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_truncated_at_every_length(index: Path, name: str) -> None:
    check_truncations(index, name, 1000)


def test_bulk_is_what_the_sample_says(sound: Path) -> None:
    with Directory.open(sound) as directory:
        touch_all(directory.segments[0])
        assert directory.verify() == []
    assert {"vectors/data", "texts"} == BULK
