"""Coded tables: a row is made of chunks that codes point at, written down or computed by a hash."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels.hashing import hash_keys, seeds_of
from fanns.kernels.jit import Array, frozen
from fanns.kernels.stores import (
    CODED,
    COLUMN_HEAD,
    COLUMN_NUMBERS,
    HASHED,
    NIBBLES,
    SIGNED,
    STORED,
    codes_of_rows,
)
from fanns.stores_base import MOST_ROWS, NativeStore, accept_table, accept_values, longest, whole

Tables = npt.ArrayLike | Sequence[npt.ArrayLike]


class Coded(NativeStore):
    """Row x is the concatenation over chunks of the sums of a few table rows.

    `stored`: codes are kept, as product quantizers and "Clustering the sketch" (Tsitsulin et al.
    2023) have them. `hashed`: they are hashes of the row number, as in hashed and Unified
    embeddings (Coleman et al. 2023). `blocks`: hashes place windows in one array, as ROBE-Z does
    (Desai et al. 2022). `signed`: hashes of parts of a minhash signature place them, as LMA does
    (Desai et al. 2021). Under ip a query is turned into a table of partial scores once, or rows are
    gathered where that is less work; nothing is decoded.
    """

    kind = CODED
    name = "coded"

    def __init__(
        self,
        rows: int,
        values: npt.NDArray[np.float32],
        head: tuple[int, int, int, int, int],
        columns: Sequence[tuple[int, int, int]],
        reach: float,
        *,
        picks: npt.NDArray[np.int64] | None = None,
        codes: Array | None = None,
        words: npt.NDArray[np.uint64] | None = None,
    ) -> None:
        """For the class methods; `head` and `columns` as in `kernels/stores.py`."""
        flat = [*head, *(number for column in columns for number in column)]
        if picks is not None:
            flat += [rows, *picks.reshape(-1).tolist()]
        arrays: dict[str, Array] = {"numbers": np.array(flat, np.int64), "first": values}
        if codes is not None:
            arrays["codes"] = codes
        if words is not None:
            arrays["words"] = words
        self._hold(rows, head[1] * head[3], reach, arrays)

    @classmethod
    def stored(cls, tables: Tables, codes: npt.ArrayLike, summed: int = 1) -> Coded:
        """Codes that are kept, in as few bytes as the largest needs.

        Args:
            tables: one table [M, width] for all columns, or one for each, of one width.
            codes: whole numbers [rows, chunks * summed]; column c * summed + t is added to chunk c.
            summed: table rows that a chunk is the sum of.

        Raises:
            InputError: tables or codes that do not fit together, NaN or infinity.
        """
        given = np.asarray(codes)
        if given.ndim != 2 or given.dtype.kind not in "iu" or given.shape[1] < 1:
            raise InputError(f"codes: expected whole numbers [rows, columns], got {given.shape}")
        values, columns, width, reach = _tables(tables, given.shape[1], summed)
        for at, (_, _, size) in enumerate(columns):
            own = given[:, at]
            if own.size and (int(own.min()) < 0 or int(own.max()) >= size):
                raise InputError(f"codes: column {at} is outside its table of {size} rows")
        most = max(size for _, _, size in columns)
        kind = np.uint8 if most <= 256 else np.uint16 if most <= 65_536 else np.int32
        head = (STORED, given.shape[1] // summed, summed, width, 0)
        return cls(len(given), values, head, columns, reach, codes=given.astype(kind))

    @classmethod
    def hashed(cls, tables: Tables, rows: int, salts: npt.ArrayLike, summed: int = 1) -> Coded:
        """Codes that are hashes of the row number (`hash_codes`): nothing is kept for a row.

        Args:
            tables: as for `stored`. rows: how many there are.
            salts: uint64[chunks * summed]; `summed` as for `stored`.
        """
        seeds = _seeds(salts)
        values, columns, width, reach = _tables(tables, len(seeds), summed)
        head = (HASHED, len(seeds) // summed, summed, width, 0)
        return cls(whole(rows, "rows", 0), values, head, columns, reach, words=seeds)

    @classmethod
    def blocks(cls, values: npt.ArrayLike, rows: int, salts: npt.ArrayLike, width: int) -> Coded:
        """Chunks that are windows of `width` numbers anywhere in one array, by hash.

        Args:
            values: the array [m]. rows: how many there are. salts: uint64[chunks].
        """
        seeds = _seeds(salts)
        flat, columns, reach = _windows(values, len(seeds), width)
        head = (HASHED, len(seeds), 1, width, 0)
        return cls(whole(rows, "rows", 0), flat, head, columns, reach, words=seeds)

    @classmethod
    def signed(
        cls,
        values: npt.ArrayLike,
        signatures: npt.ArrayLike,
        picks: npt.ArrayLike,
        salts: npt.ArrayLike,
        width: int = 1,
        rare: npt.ArrayLike | None = None,
    ) -> Coded:
        """Windows placed by hashes of parts of a signature: like rows share memory. 8 bytes a row.

        Args:
            values: the array [m].
            signatures: uint64[rows], of which every 4 bits are a minhash.
            picks: [chunks, K <= 16], which of the 16 minhashes (0: the lowest bits) a chunk goes
                by, the first one as the highest bits of the key.
            salts: uint64[chunks].
            rare: bool[rows], rows that are hashed by their number instead.
        """
        seeds, signed = _seeds(salts), np.asarray(signatures)
        if signed.dtype != np.uint64 or signed.ndim != 1:
            raise InputError(f"signatures: expected uint64[rows], got {signed.dtype}{signed.shape}")
        picked = np.asarray(picks)
        good = picked.ndim == 2 and picked.dtype.kind in "iu" and len(picked) == len(seeds)
        good = good and 1 <= picked.shape[1] <= NIBBLES
        if not good or int(picked.min()) < 0 or int(picked.max()) >= NIBBLES:
            raise InputError(f"picks: expected numbers 0..15 [{len(seeds)}, 1 to 16]")
        flags = np.zeros(len(signed), np.bool_) if rare is None else np.asarray(rare)
        if flags.shape != signed.shape or flags.dtype != np.bool_:
            raise InputError(f"rare: expected bool[{len(signed)}], got {flags.dtype}{flags.shape}")
        bitmap = np.zeros((len(signed) + 63) >> 6, np.uint64)
        packed = np.packbits(flags, bitorder="little")
        bitmap.view(np.uint8)[: len(packed)] = packed
        flat, columns, reach = _windows(values, len(seeds), width)
        head = (SIGNED, len(seeds), 1, width, picked.shape[1])
        words = np.concatenate([seeds, signed, bitmap])
        chosen = picked.astype(np.int64)
        return cls(len(signed), flat, head, columns, reach, picks=chosen, words=words)

    def _check(self) -> None:
        numbers, first, _, codes, words = self.held
        head = numbers[:COLUMN_HEAD].tolist()
        if len(head) < COLUMN_HEAD or head[0] not in (STORED, HASHED, SIGNED) or min(head) < 0:
            raise InputError(f"{self.name}: its numbers begin with {head}")
        source, chunks, summed, width, picks = head
        columns = chunks * summed
        end = COLUMN_HEAD + COLUMN_NUMBERS * columns
        more = 1 + columns * picks if source == SIGNED else 0
        if min(chunks, summed, width) < 1 or chunks * width != self.d or len(numbers) != end + more:
            raise InputError(f"{self.name}: {head} do not fit {self.d} dimensions")
        bases, strides, sizes = numbers[COLUMN_HEAD:end].reshape(columns, COLUMN_NUMBERS).T
        good = bases.min() >= 0 and strides.min() >= 1 and sizes.min() >= 1
        good = good and max(bases.max(), strides.max(), sizes.max()) <= MOST_ROWS
        if not good or int((bases + strides * (sizes - 1)).max()) + width > len(first):
            raise InputError(f"{self.name}: a column reaches beyond the {len(first)} values")
        if source == STORED:
            if codes.shape != (self.n, columns):
                raise InputError(f"{self.name}: codes are {codes.shape}, not {self.n} x {columns}")
            if self.n and ((codes.max(axis=0) >= sizes).any() or codes.min() < 0):
                raise InputError(f"{self.name}: a code is outside its table")
            return
        bitmap = (self.n + 63) >> 6
        if len(words) != columns + (self.n + bitmap if source == SIGNED else 0):
            raise InputError(f"{self.name}: {len(words)} words of hashes")
        if source == SIGNED:
            chosen = numbers[end + 1 :]
            good = int(numbers[end]) == self.n and 1 <= picks <= NIBBLES
            if not good or int(chosen.min()) < 0 or int(chosen.max()) >= NIBBLES:
                raise InputError(f"{self.name}: picks of no signature")

    @property
    def rounds(self) -> bool:
        return int(self.held[0][2]) > 1

    @property
    def columns(self) -> int:
        """Codes of a row."""
        return int(self.held[0][1] * self.held[0][2])

    def codes(self, rows: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The codes of rows (whole numbers [m] within 0..n-1), int64[m, columns].

        Entries of tables, or where windows begin; what trains the tables reads the same.
        """
        wanted = np.asarray(rows)
        if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
            raise InputError(f"rows: expected whole numbers [m], got {wanted.dtype}{wanted.shape}")
        if wanted.size and (int(wanted.min()) < 0 or int(wanted.max()) >= self.n):
            raise InputError(f"rows: expected numbers within 0..{self.n - 1}")
        out = np.empty((len(wanted), self.columns), np.int64)
        numbers, _, _, codes, words = self.held
        codes_of_rows(numbers, codes, words, frozen(wanted.astype(np.int64)), out)
        return out


def hash_codes(
    keys: npt.ArrayLike, salts: npt.ArrayLike, sizes: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """The entry of each key under each salt: what `Coded.hashed` computes for row numbers.

    Args:
        keys: whole numbers [n], not negative. salts: uint64[c].
        sizes: of the tables, int64[c] or one for all, each at most 2^31.

    Returns:
        int64[n, c], entry c within 0..sizes[c] - 1: (mix(key ^ mix(salt + 0x9E3779B97F4A7C15)) >>
        32) * size >> 32, with the finaliser of splitmix64 for mix.
    """
    given, seeds = np.asarray(keys), _seeds(salts)
    if given.ndim != 1 or given.dtype.kind not in "iu" or (given.size and int(given.min()) < 0):
        raise InputError("keys: expected whole numbers [n], none of them negative")
    limits = np.asarray(sizes)
    if limits.dtype.kind not in "iu" or limits.min() < 1 or limits.max() > 2**31:
        raise InputError("sizes: expected whole numbers of 1 to 2^31")
    out = np.empty((len(given), len(seeds)), np.int64)
    each = np.ascontiguousarray(np.broadcast_to(limits.astype(np.int64), seeds.shape))
    hash_keys(frozen(given.astype(np.uint64)), frozen(seeds), frozen(each), out)
    return out


def _seeds(salts: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    given = np.asarray(salts)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iu":
        raise InputError("salts: expected uint64[columns], at least one")
    out = np.empty(len(given), np.uint64)
    seeds_of(frozen(given.astype(np.uint64)), out)
    return out


def _tables(
    tables: Tables, columns: int, summed: int
) -> tuple[npt.NDArray[np.float32], list[tuple[int, int, int]], int, float]:
    """Values end to end, (base, stride, size) of each column, the width, and the reach of rows."""
    if columns % whole(summed, "summed", 1):
        raise InputError(f"summed: {columns} columns are no chunks of {summed}")
    shared = isinstance(tables, np.ndarray) and tables.ndim == 2
    given: list[Any] = list(tables) if isinstance(tables, Sequence) else [tables]
    if not shared and len(given) != columns:
        raise InputError(f"tables: expected one array, or {columns}, got {len(given)}")
    held = [accept_table(table, f"table {at}") for at, table in enumerate(given)]
    width = held[0].shape[1]
    if any(table.shape[1] != width for table in held):
        raise InputError("tables: expected all of one width")
    starts = np.concatenate([[0], np.cumsum([table.size for table in held])]).tolist()
    found = [(start, width, len(table)) for start, table in zip(starts, held, strict=False)]
    lengths = [longest(table) for table in held]
    if shared:
        found, lengths = found * columns, lengths * columns
    sums = np.array(lengths).reshape(-1, summed).sum(axis=1)
    flat = held[0].reshape(-1) if shared else np.concatenate([part.reshape(-1) for part in held])
    return flat, found, width, float(np.linalg.norm(sums))


def _windows(
    values: npt.ArrayLike, chunks: int, width: int
) -> tuple[npt.NDArray[np.float32], list[tuple[int, int, int]], float]:
    """The same for windows of one array, which may begin anywhere."""
    if np.ndim(values) != 1:
        raise InputError(f"values: expected an array [m], got {np.ndim(values)} dimensions")
    flat = accept_values(values, "values")
    if len(flat) < whole(width, "width", 1):
        raise InputError(f"values: {len(flat)} numbers hold no window of {width}")
    most = float(np.abs(flat).max()) * math.sqrt(width * chunks)
    return flat, [(0, 1, len(flat) - width + 1)] * chunks, most
