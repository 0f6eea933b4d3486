"""Damaged and forged files: of a saved index, Parquet, and .npy headers.

*Flipped* files of an index do not match their checksums: they are refused, or, where bulk files are
only checked by `verify`, answer without a crash and are found by it. *Forged* ones have checksums
that are right, as an attacker would make them: arrays with any numbers in them, descriptions with
any values. Answers may then be wrong, but nothing may crash, hang or be read that is not there.
"""

from __future__ import annotations

import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import xxhash

import fanns
from fanns import column_graphs, persistence, quick, segment_building
from fanns.cli_options import read_vectors
from fanns.datasets import arxiv_like
from fanns.datasets.dataset import vectors as vectors_of
from fanns.errors import CorruptIndexError, FannsError
from fanns.paths import column_blocks, column_graph_builder, range_graph
from tests.fuzz_run import Case
from tests.storage_helpers import forge

N, D = 300, 16
WHERE = "versions > 1 AND list_contains(categories, 'cs.LG') OR title LIKE '%graph%'"
FILTERS = [
    None,
    "versions > 1",
    WHERE,
    "list_contains(categories, 'cs.LG')",
    "primary_category = 'cs.LG'",
    "submitted_date > '2015-01-01'",
]


def use(path: Path, deep: bool = True) -> None:
    """Everything that reads arrays."""
    queries = vectors_of(arxiv_like.queries(2, D, seed=4))
    with fanns.open(path) as index:
        for number, where in enumerate(FILTERS):
            index.search(queries[0], 5, where)
            if deep or number == 2:
                index.search(queries[1], 3, where, exact=True)
        for plan in ("scan", "clusters", "graph"):
            index.search(queries, 5, FILTERS[1], plan=plan)
            index.search(queries[0], 4, plan=plan)
        hits = index.search(queries[0], 5, WHERE, columns=["title", "categories"])
        hits.to_arrow(columns=["title", "versions"])
        if not deep:
            return
        ids = index.ids()
        index.get(ids[:3], vector=True)
        index.facets("categories", limit=3)
        index.rows("versions > 3", order_by="submitted_date", limit=3)
        index.search(queries[0], 3, group_by="primary_category")
        index.info()


SMALL = [
    (segment_building, "MIN_ROWS", 100),
    (persistence, "MIN_ROWS", 100),
    (range_graph, "FEWEST", 10),
    (column_graph_builder, "FEWEST", 10),
    (column_blocks, "FEWEST", 10),
    *((module, "BLOCKS_MOST", 60) for module in (column_blocks, column_graphs)),
    (quick, "FEWEST", 10),
]


class Files:
    """A saved index that cases damage and mend; two segments, one with deleted rows."""

    def __init__(self, folder: Path) -> None:
        for module, name, rows in SMALL:  # small segments have graphs here
            setattr(module, name, rows)
        self.folder, self.path = folder, folder / "x"
        table = arxiv_like.items(N, D, seed=4)
        table = table.select([name for name in table.column_names if name != "abstract"])
        fanns.Index.build(
            table.slice(0, 200), store=["title"], calibration="default", path=self.path,
            range_index=["versions"], label_index=["categories"],
        ).close()  # fmt: skip
        with fanns.open(self.path, mode="w", merge="manual") as index:
            index.add(table.slice(200))
            index.delete(ids=index.ids()[::9])
            self.exported = folder / "sound.parquet"
            index.export(self.exported)
        use(self.path)
        self.plain = folder / "plain.parquet"
        pq.write_table(table.slice(0, 60), self.plain)
        self.npy = folder / "sound.npy"
        np.save(self.npy, np.ones((3, D), np.float32))
        self.sound = {
            file.relative_to(self.path): file.read_bytes()
            for file in self.path.rglob("*") if file.is_file()
        }  # fmt: skip
        self.names = sorted(name for name, content in self.sound.items() if content)
        self.sound_npy = self.npy.read_bytes()

    def case(self, seed: int) -> str:
        rng = random.Random(seed)
        kind = rng.choices([self.flipped, self.forged_array, self.forged_text, self.parquet,
                            self.header], [30, 32, 8, 20, 10])[0]  # fmt: skip
        return kind(rng)

    def mend(self) -> None:
        """The index as it was."""
        for file in list(self.path.rglob("*")):
            if file.is_file() and file.relative_to(self.path) not in self.sound:
                file.unlink()
        for name, content in self.sound.items():
            file = self.path / name
            if not file.exists() or file.read_bytes() != content:
                file.write_bytes(content)

    def flipped(self, rng: random.Random) -> str:
        name = rng.choice(self.names)
        damaged = damage(rng, self.sound[name])
        (self.path / name).write_bytes(damaged)
        try:
            try:
                use(self.path, deep=False)
            except FannsError:
                return "flipped, refused"
            if damaged != self.sound[name]:
                try:
                    fanns.open(self.path, check=True).close()
                except CorruptIndexError as error:
                    assert name.name in str(error) or "bytes" in str(error), error
                else:
                    raise AssertionError(f"{name}: damage that nothing finds")
            return "flipped, bulk"
        finally:
            (self.path / name).write_bytes(self.sound[name])

    def forged_array(self, rng: random.Random) -> str:
        """Numbers of one array, or two, are others; the catalog agrees."""
        try:
            statements = []
            for _ in range(rng.choice([1, 1, 2])):
                statements += self.forgery(rng)
            forge(self.path, *statements)
            try:
                use(self.path)
            except FannsError:
                return "forged, refused"
            return "forged, answered"
        finally:
            self.mend()

    def forgery(self, rng: random.Random) -> list[str]:
        import sqlite3

        connection = sqlite3.connect(self.path / "catalog.sqlite")
        arrays = connection.execute(
            "SELECT segment, name, file, dtype, shape, offset, bytes FROM array WHERE bytes > 0 "
            "AND dtype <> 'arrow' ORDER BY segment, name"
        ).fetchall()
        connection.close()
        segment, name, file, dtype, shape, offset, nbytes = rng.choice(arrays)
        path = self.path / f"segment-{segment:06d}" / file
        content = bytearray(path.read_bytes())
        where = f"segment = {segment} AND name = '{name}'"
        if rng.random() < 0.12:  # fewer or other sides, of the same bytes or fewer
            size = np.dtype(dtype).itemsize
            count = rng.randrange(nbytes // size + 1)
            sides = rng.choice([f"{count}", f"{count},1", f"1,{count}", f"{count // 2},2", "0"])
            total = math.prod(int(side) for side in sides.split(","))
            own = bytes(content[offset : offset + total * size])
            change = f"shape = '{sides}', bytes = {total * size}"
        else:
            values = np.frombuffer(bytes(content[offset : offset + nbytes]), dtype).copy()
            alter(rng, values)
            own = values.tobytes()
            content[offset : offset + nbytes] = own
            change = f"shape = '{shape}'"
            if rng.random() < 0.06 and np.dtype(dtype).kind in "iu":
                change += f", dtype = '{rng.choice(['<i', '<u', '<f'])}{np.dtype(dtype).itemsize}'"
                change = change.replace("'<f1'", "'|i1'").replace("'<i1'", "'|i1'")
                change = change.replace("'<u1'", "'|u1'")
        path.write_bytes(content)
        digest = xxhash.xxh3_128_hexdigest(own)
        whole = xxhash.xxh3_128_hexdigest(bytes(content))
        return [
            f"UPDATE array SET {change}, checksum = '{digest}' WHERE {where}",
            f"UPDATE file SET checksum = '{whole}' WHERE segment = {segment} AND name = '{file}'",
        ]

    def forged_text(self, rng: random.Random) -> str:
        """A value of a segment's description, or of the settings, is another."""
        import sqlite3

        connection = sqlite3.connect(self.path / "catalog.sqlite")
        if rng.random() < 0.5:
            ((text,),) = connection.execute("SELECT value FROM state WHERE key='settings'")
            sql = "UPDATE state SET value = '{}' WHERE key = 'settings'"
        else:
            number, text = rng.choice(connection.execute("SELECT id, meta FROM segment").fetchall())
            sql = f"UPDATE segment SET meta = '{{}}' WHERE id = {number}"
        connection.close()
        raw = json.loads(text)
        place: Any = raw
        while True:
            key = rng.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or rng.random() < 0.4:
                break
            place = inner
        if key == "calibration" and str(inner).startswith("{") and rng.random() < 0.8:
            told = json.loads(inner)
            altered = rng.choice(sorted(told))
            told[altered] = rng.choice(ODD)
            place[key] = json.dumps(told)
        elif rng.random() < 0.15:
            del place[key]
        else:
            place[key] = rng.choice(ODD)
        try:
            changed = json.dumps(raw).replace("'", "''")
            forge(self.path, sql.format(changed) if "{}" in sql else sql)
            try:
                use(self.path)
            except FannsError:
                return "described, refused"
            return "described, answered"
        finally:
            self.mend()

    def parquet(self, rng: random.Random) -> str:
        """A file to build from, or an export to import."""
        source = rng.choice([self.exported, self.plain])
        damaged = damage(rng, source.read_bytes())
        target = self.folder / "x.parquet"
        target.write_bytes(damaged)
        if source == self.exported:
            fanns.Index.import_(target).close()
        else:
            fanns.Index.build(target, calibration="default").close()
        return "parquet, read"

    def header(self, rng: random.Random) -> str:
        """A .npy file of queries with another header, or cut."""
        target = self.folder / "x.npy"
        if rng.random() < 0.4:
            target.write_bytes(damage(rng, self.sound_npy))
        else:
            kind = rng.choice(["<f4", "<f8", "|O", "<U5", ">f4", "|V8", "<c8", "|b1", "<i8", "<f2",
                               "<M8[ns]", "[('a','<f4')]", "f4,f4", "", "x"])  # fmt: skip
            sides = [rng.choice([0, 1, 3, 16, 48, -1, 2**31, 2**62, 2**63, 10**30])
                     for _ in range(rng.randint(0, 4))]  # fmt: skip
            shape = rng.choice([repr(tuple(sides)), "(3,16)", "3", "None", "('a',)", "(3.0, 16)",
                                "(" * 500 + ")" * 500, "__import__('os')"])  # fmt: skip
            text = (f"{{'descr': {kind!r}, 'fortran_order': {rng.choice([True, False, 1, 'x'])!r}, "
                    f"'shape': {shape}, }}")  # fmt: skip
            head = text.encode() + b"\n"
            version = rng.choice([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"])
            length = struct.pack("<H" if version[0] == 1 else "<I", len(head) % 65536)
            body = rng.randbytes(rng.choice([0, 7, 192, 400]))
            target.write_bytes(b"\x93NUMPY" + version + length + head + body)
        vectors = read_vectors(target)
        with fanns.open(self.path) as index:
            index.search(vectors, 3)
        return "npy, read"


ODD: list[Any] = [
    None, True, -1, 0, 1, 2, 7, 2**31, 2**63, 10**30, 1.5, -1e308, math.inf, math.nan, "", "x",
    "cosine", "l2", "float16", "int8", "string", [], [1], ["year"], {}, {"a": 1}, {"kind": "int"},
    "9" * 400, [[]] * 5,
]  # fmt: skip


def damage(rng: random.Random, content: bytes) -> bytes:
    """Bits flipped, bytes set, a piece zeroed, moved or cut, or the end cut or longer."""
    changed = bytearray(content)
    way = rng.randrange(8)
    at = rng.randrange(len(changed))
    if way < 3:
        for _ in range(rng.choice([1, 1, 2, 8])):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif way == 3:
        for _ in range(rng.choice([1, 4, 16])):
            changed[rng.randrange(len(changed))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
    elif way == 4:
        length = rng.choice([8, 64, 512])
        changed[at : at + length] = bytes(len(changed[at : at + length]))
    elif way == 5:
        del changed[at:]
    elif way == 6:
        changed += rng.randbytes(rng.choice([1, 100]))
    else:
        piece = bytes(changed[at : at + 32])
        other = rng.randrange(len(changed))
        changed[other : other + len(piece)] = piece
    return bytes(changed)


def alter(rng: random.Random, values: np.ndarray) -> None:
    """Some numbers of an array become others, in place."""
    count = rng.choice([1, 1, 3, 20, len(values)])
    places = [rng.randrange(len(values)) for _ in range(min(count, len(values)))]
    if values.dtype.kind in "iu":
        low, high = (int(x) for x in (np.iinfo(values.dtype).min, np.iinfo(values.dtype).max))
        pool = [0, 1, low, high, high // 2, N, N - 1, N + 1, 200, 199, max(low, -1), 10**6]
        for place in places:
            value = rng.choice(pool) if rng.random() < 0.7 else rng.randint(low, high)
            values[place] = min(max(value, low), high)
    elif values.dtype.kind == "f":
        for place in places:
            values[place] = rng.choice([0, -1, math.nan, math.inf, -math.inf, 1e30, 1e-30, 5])
    else:
        values[places] = ~values[places]


def prepare(folder: Path) -> Case:
    """See `fuzz_run`."""
    return Files(folder).case
