"""Sums of 4-bit product codes, 64 rows at a time, by shuffling bytes inside registers.

Andre, Kermarrec and Le Scouarnec 2015 ("Cache locality is not enough") and 2017 ("Accelerated
nearest neighbor search with Quick ADC"): a table of 16 bytes fits a register, so that one shuffle
looks up 16 to 64 codes at once. A block is 64 rows by row number, which is one word of a
selection's bitmap. It is one row of uint8[blocks, 256 G], where G groups hold 8 sub-quantizers
each: the code of sub-quantizer j of row r of the block stands in byte

    256 (j / 8) + 64 (r / 16) + 16 (j % 4) + r % 16,    low half where j % 8 < 4, else high half.

So 16 neighbouring bytes share a table in either half, as a shuffle wants it, and 64 bytes hold all
of 8 codes of 16 rows. With AVX-512 VBMI they are turned so that 4 neighbouring bytes belong to one
row; one permutation then looks up 4 tables, and VNNI adds 4 bytes in one step: 8 instead of 11
operations for 128 codes (`permute512`). Else bytes are shuffled in place and added up as 16 bits,
in registers of 512 or 256 bits (`shuffle512`, `shuffle256`), or by plain loops (`portable`). The
sums are equal integers in all forms.

Tables are uint8[queries, 128 G]: 16 entries a sub-quantizer, zeros past the last; the largest of
each add up to at most 65,535, which `pq.quantise_tables` sees to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba.extending
import numpy as np
from llvmlite import ir
from numba import types

from fanns.kernels.intrinsics import (
    F32,
    FEATURES,
    I8,
    I16,
    I32,
    I64,
    _data,
    _function,
    _load,
    _prefetch_line,
    _row,
    cgutils,
)
from fanns.kernels.jit import Array, Integer, inner

intrinsic: Any = numba.extending.intrinsic

ROWS = 64  # rows of a block
CENTROIDS = 16
GROUP = 8  # sub-quantizers whose codes lie together
GROUP_BYTES = GROUP * ROWS // 2
GROUP_TABLES = GROUP * CENTROIDS  # bytes
LINE = 64  # bytes: 8 codes of 16 rows
LARGEST_SUM = 65_535
MANY = 4  # queries that share one pass over the codes


def groups_of(subspaces: int) -> int:
    """Groups of 8 that hold so many sub-quantizers."""
    return -(-subspaces // GROUP)


def fast_scan_form(features: frozenset[str]) -> str:
    """The fastest form for a processor with these features."""
    if {"avx512bw", "avx512vbmi", "avx512vnni"} <= features:
        return "permute512"
    if "avx512bw" in features:
        return "shuffle512"
    return "shuffle256" if "avx2" in features else "portable"


FORM = fast_scan_form(FEATURES)


# --- forms ---------------------------------------------------------------------------------------


def _constant(kind: ir.VectorType, values: list[int]) -> ir.Constant:
    return ir.Constant(kind, values)


def _halves(builder: ir.IRBuilder, codes: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Low and high four bits of each byte."""
    kind = codes.type
    words = ir.VectorType(I16, kind.count // 2)
    mask = _constant(kind, [15] * kind.count)
    shifted = builder.lshr(builder.bitcast(codes, words), _constant(words, [4] * words.count))
    return builder.and_(codes, mask), builder.and_(builder.bitcast(shifted, kind), mask)


def _store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=1)


def _permuted_sums(builder: ir.IRBuilder, place: Any, ahead: Any, groups: Any, queries: int) -> Any:
    """AVX-512 VBMI and VNNI: `place(kind, group, offset, query)` gives addresses."""
    line, sums = ir.VectorType(I8, LINE), ir.VectorType(I32, 16)
    permute = _function(builder, "llvm.x86.avx512.permvar.qi.512", line, line, line)
    add = _function(builder, "llvm.x86.avx512.vpdpbusd.512", sums, sums, line, line)
    by_row = _constant(line, [16 * (i % 4) + i // 4 for i in range(LINE)])
    table = _constant(line, [16 * (i % 4) for i in range(LINE)])  # which of 4, above the code
    ones = _constant(line, [1] * LINE)
    totals = [
        [cgutils.alloca_once_value(builder, _constant(sums, [0] * 16)) for _ in range(4)]
        for _ in range(queries)
    ]
    with cgutils.for_range(builder, groups, intp=I64) as loop:
        tables = [
            [_load(builder, line, place("tables", loop.index, half, q), 1) for half in (0, LINE)]
            for q in range(queries)
        ]
        for part in range(4):
            _prefetch_line(builder, ahead(loop.index, part * LINE))
            raw = _load(builder, line, place("codes", loop.index, part * LINE, 0), 1)
            turned = builder.call(permute, [raw, by_row])
            halves = [builder.or_(half, table) for half in _halves(builder, turned)]
            for q in range(queries):
                total = builder.load(totals[q][part])
                for half, entries in zip(halves, tables[q], strict=True):
                    found = builder.call(permute, [entries, half])
                    total = builder.call(add, [total, found, ones])
                builder.store(total, totals[q][part])
    for q in range(queries):
        for part in range(4):
            _store(builder, builder.load(totals[q][part]), place("sums", None, part * LINE, q))


def _shuffled_sums(
    builder: ir.IRBuilder, place: Any, ahead: Any, groups: Any, queries: int, size: int
) -> Any:
    """pshufb in registers of `size` bytes: sums of all bytes as 16 bits, and of odd ones alone."""
    line, words = ir.VectorType(I8, size), ir.VectorType(I16, size // 2)
    name = "llvm.x86.avx512.pshuf.b.512" if size == LINE else "llvm.x86.avx2.pshuf.b"
    shuffle = _function(builder, name, line, line, line)
    eight = _constant(words, [8] * words.count)
    zero = _constant(words, [0] * words.count)
    for part in range(4):
        totals = [
            [cgutils.alloca_once_value(builder, zero) for _ in range(2)] for _ in range(queries)
        ]
        with cgutils.for_range(builder, groups, intp=I64) as loop:
            _prefetch_line(builder, ahead(loop.index, part * LINE))
            for start in range(0, LINE, size):
                address = place("codes", loop.index, part * LINE + start, 0)
                halves = _halves(builder, _load(builder, line, address, 1))
                for q, (both, odd) in enumerate(totals):
                    for half, codes in enumerate(halves):
                        offset = half * LINE + start
                        entries = _load(builder, line, place("tables", loop.index, offset, q), 1)
                        found = builder.bitcast(builder.call(shuffle, [entries, codes]), words)
                        builder.store(builder.add(builder.load(both), found), both)
                        upper = builder.lshr(found, eight)
                        builder.store(builder.add(builder.load(odd), upper), odd)
        for q, (both, odd) in enumerate(totals):
            upper = builder.load(odd)
            even = builder.sub(builder.load(both), builder.shl(upper, eight))
            _store(builder, _rows_of(builder, even, upper), place("sums", None, part * LINE, q))


def _rows_of(builder: ir.IRBuilder, even: ir.Value, odd: ir.Value) -> ir.Value:
    """Add lanes of 8 sums, and put even and odd rows in turn: int32 of 16 rows."""
    nothing = ir.Constant(even.type, ir.Undefined)
    parts = []
    for value in (even, odd):
        lanes = [
            builder.shuffle_vector(
                value, nothing, _constant(ir.VectorType(I32, 8), list(range(start, start + 8)))
            )
            for start in range(0, even.type.count, 8)
        ]
        total = lanes[0]
        for lane in lanes[1:]:
            total = builder.add(total, lane)
        parts.append(total)
    turns = _constant(ir.VectorType(I32, 16), [i // 2 + 8 * (i % 2) for i in range(16)])
    return builder.zext(builder.shuffle_vector(*parts, turns), ir.VectorType(I32, 16))


def _block_sums(form: str, queries: int, codes: Any, tables: Any, sums: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        start, length = _row(context, builder, kinds[0], args[0], args[1])
        later, _ = _row(context, builder, kinds[0], args[0], args[2])
        groups = builder.lshr(length, ir.Constant(I64, 8))
        lines = {
            "tables": [
                _row(context, builder, kinds[3], args[3], ir.Constant(I64, q))[0]
                for q in range(queries)
            ],
            "sums": [
                _row(context, builder, kinds[4], args[4], ir.Constant(I64, q))[0]
                for q in range(queries)
            ],
            "codes": [start],
        }
        steps = {"tables": GROUP_TABLES, "codes": GROUP_BYTES}

        def place(kind: str, group: Any, offset: int, query: int) -> Any:
            address = builder.add(lines[kind][query], ir.Constant(I64, offset))
            if group is None:
                return address
            return builder.add(address, builder.mul(group, ir.Constant(I64, steps[kind])))

        def ahead(group: Any, offset: int) -> Any:
            address = builder.add(later, ir.Constant(I64, offset))
            return builder.add(address, builder.mul(group, ir.Constant(I64, GROUP_BYTES)))

        if form == "permute512":
            _permuted_sums(builder, place, ahead, groups, queries)
        else:
            _shuffled_sums(builder, place, ahead, groups, queries, 64 if form[-3:] == "512" else 32)
        return context.get_dummy_value()

    return types.void(codes, types.int64, types.int64, tables, sums), codegen


@inner
def _plain_sums(codes: Array, block: Integer, tables: Array, sums: Array, query: Integer) -> None:
    """The portable form of one query."""
    for row in range(ROWS):
        sums[query, row] = 0
    for line in range(codes.shape[1] // LINE):
        first = (line >> 2) * GROUP_TABLES
        for column in range(4):
            low, place = first + column * CENTROIDS, line * LINE + column * 16
            for row in range(16):
                code = np.int64(codes[block, place + row])
                sums[query, (line & 3) * 16 + row] += np.int32(
                    tables[query, low + (code & 15)]
                ) + np.int32(tables[query, low + LINE + (code >> 4)])


@inner
def _plain_one(codes: Array, block: Integer, ahead: Integer, tables: Array, sums: Array) -> None:
    _plain_sums(codes, block, tables, sums, np.int64(0))


@inner
def _plain_many(codes: Array, block: Integer, ahead: Integer, tables: Array, sums: Array) -> None:
    for query in range(MANY):
        _plain_sums(codes, block, tables, sums, np.int64(query))


def block_sums_form(form: str, queries: int) -> Callable[..., None]:
    """Sums of a block for 1 or MANY queries, in one of the forms (tests compare them).

    `sums_of(codes uint8[blocks, 256 G], block, ahead, tables uint8[queries, 128 G],
    sums int32[queries, 64])`, with int64 numbers of blocks; `ahead` is asked for in advance, and
    may be any block.
    """
    if form == "portable":
        return _plain_one if queries == 1 else _plain_many

    def sums_of(typingctx, codes, block, ahead, tables, sums):  # type: ignore[no-untyped-def]
        return _block_sums(form, queries, codes, tables, sums)

    return intrinsic(sums_of)  # type: ignore[no-any-return]


block_sums = block_sums_form(FORM, 1)
block_sums_many = block_sums_form(FORM, MANY)


# --- keys of a block -----------------------------------------------------------------------------


@intrinsic
def block_keys(typingctx, sums, query, fields, block, base, step, bound, keys):  # type: ignore[no-untyped-def]
    """Keys of a block's rows for one query, and a word that tells which lie below a bound.

    keys[r] = second[r] - factor[r] (base + step sums[query, r]), all float32 and without fused
    operations, so equal on every processor; fields float32[blocks, 128] is a block's 64 second and
    64 factor, sums int32[queries, 64], keys float32[64]. A NaN is not below the bound.
    """
    lanes = 16
    numbers, floats = ir.VectorType(I32, lanes), ir.VectorType(F32, lanes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        total, _ = _row(context, builder, kinds[0], args[0], args[1])
        field, _ = _row(context, builder, kinds[2], args[2], args[3])
        out = _data(context, builder, kinds[7], args[7])

        def spread(value: Any) -> Any:
            one = builder.insert_element(
                ir.Constant(floats, ir.Undefined), value, ir.Constant(I32, 0)
            )
            return builder.shuffle_vector(one, one, ir.Constant(numbers, [0] * lanes))

        base, step, bound = (spread(value) for value in args[4:7])
        word: Any = ir.Constant(I64, 0)
        for part in range(ROWS // lanes):
            offset = ir.Constant(I64, part * lanes * 4)
            sum_ = _load(builder, numbers, builder.add(total, offset), 4)
            second = _load(builder, floats, builder.add(field, offset), 4)
            place = builder.add(field, ir.Constant(I64, (ROWS + part * lanes) * 4))
            factor = _load(builder, floats, place, 4)
            dot = builder.fadd(base, builder.fmul(step, builder.sitofp(sum_, floats)))
            key = builder.fsub(second, builder.fmul(factor, dot))
            _store(builder, key, builder.add(out, offset))
            below = builder.bitcast(builder.fcmp_ordered("<", key, bound), I16)
            shift = ir.Constant(I64, part * lanes)
            word = builder.or_(word, builder.shl(builder.zext(below, I64), shift))
        return word

    float32, int64 = types.float32, types.int64
    kinds = (sums, int64, fields, int64, float32, float32, float32, keys)
    return types.uint64(*kinds), codegen
