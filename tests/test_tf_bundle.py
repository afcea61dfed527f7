"""The reader of TensorFlow's checkpoints: what it reads, and that it refuses whatever is damaged.

The one idea: `tf_bundle` writes a file and a test breaks it, byte by byte or entry by entry, with
the checksums made right again where the break is meant to get past them. What must stay true:
whatever the bytes are, the reader gives the tensors that were written or raises BadCheckpoint.
TensorFlow 2.21 read what `tf_bundle` writes, and the converter what TensorFlow's Saver wrote (one
file, two shards, beside Adam's variables), to the bit.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tf_bundle as written
import torch
from hypothesis import given
from hypothesis import strategies as st
from scripts_path import importable
from torch import Tensor

HUGE = 2**62


@pytest.fixture(scope="module")
def tf() -> Iterator[Any]:
    """The reader; its package lies beside the script that uses it."""
    with importable():
        import tf.bundle
        import tf.checksum

        yield tf


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "model.ckpt"


def tensors() -> dict[str, Tensor]:
    """A few of each type, with names that share beginnings, a scalar and an empty one."""
    generator = torch.Generator().manual_seed(0)
    result = {
        f"net/layer_{index}/{name}": torch.randn(3, index, generator=generator)
        for index in range(9)
        for name in ("bias", "kernel")
    }
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        result[f"net/{dtype}"] = torch.randn(2, 5, generator=generator).to(dtype)
    return {**result, "net": torch.tensor(1.5)}


def put(prefix: Path, *entries: tuple[bytes, bytes], data: bytes = b"", **head: Any) -> None:
    """A checkpoint whose index says just this of its data, with right checksums."""
    contents = {b"": written.header(**head), **dict(entries)}
    written.index_file(prefix).write_bytes(written.table(contents))
    written.data_file(prefix).write_bytes(data)


def read_all(tf: Any, prefix: Path) -> dict[str, Tensor]:
    bundle = tf.bundle.Bundle(prefix)
    return {name: bundle.read(name) for name in bundle.entries}


def refusal(tf: Any, prefix: Path) -> str:
    with pytest.raises(tf.BadCheckpoint) as caught:
        read_all(tf, prefix)
    return str(caught.value)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("block_size", [1, 200, 10**6])
@pytest.mark.parametrize("interval", [1, 2, 16])
def test_reads_every_bit(
    tf: Any, prefix: Path, shards: int, block_size: int, interval: int
) -> None:
    wanted = tensors()
    written.write(prefix, wanted, shards=shards, block_size=block_size, interval=interval)
    got = read_all(tf, prefix)
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert got[name].dtype == tensor.dtype and got[name].shape == tensor.shape
        assert written.raw(got[name]) == written.raw(tensor), name


@pytest.mark.parametrize(
    ("text", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_checksums(tf: Any, text: bytes, checksum: int) -> None:
    assert tf.checksum.crc32c(text) == checksum == written.crc32c(text)


def test_checksum_of_every_length_and_alignment(tf: Any) -> None:
    text = bytes(torch.randint(256, (300_007,), dtype=torch.uint8).tolist())
    for start, end in [(s, s + n) for s in range(4) for n in (1, 511, 512, 513, 1031, 4099, 70001)]:
        part = memoryview(text)[start:end]
        assert tf.checksum.crc32c(part) == written.crc32c(bytes(part)), (start, end)
    assert tf.checksum.crc32c(text) == written.crc32c(text)


def small(prefix: Path) -> bytes:
    """The index of a checkpoint of three tensors in two blocks."""
    some = {name: torch.ones(2) for name in ("net/first", "net/second", "other")}
    written.write(prefix, some, block_size=40)
    return written.index_file(prefix).read_bytes()


def test_every_truncation_of_the_index_is_refused(tf: Any, prefix: Path) -> None:
    index = small(prefix)
    assert len(read_all(tf, prefix)) == 3
    for size in range(len(index)):
        written.index_file(prefix).write_bytes(index[:size])
        assert str(prefix) in refusal(tf, prefix), size


@pytest.mark.parametrize("flip", [1, 128, 255])
def test_every_damaged_byte_is_noticed(tf: Any, prefix: Path, flip: int) -> None:
    small(prefix)
    for file in (written.index_file(prefix), written.data_file(prefix)):
        whole = file.read_bytes()
        for at in range(len(whole)):
            damaged = bytearray(whole)
            damaged[at] ^= flip
            file.write_bytes(damaged)
            assert str(prefix) in refusal(tf, prefix), (file.name, at)
        file.write_bytes(whole)


def test_says_which_block_and_which_tensor_is_damaged(tf: Any, prefix: Path) -> None:
    index = small(prefix)
    written.index_file(prefix).write_bytes(b"\xff" + index[1:])
    assert "the block at byte 0 does not have the checksum" in refusal(tf, prefix)
    written.index_file(prefix).write_bytes(index)
    written.data_file(prefix).write_bytes(bytes(24))
    said = refusal(tf, prefix)
    assert "net/first in" in said and f"at byte 0 of {written.data_file(prefix).name}" in said


def test_data_must_be_there(tf: Any, prefix: Path) -> None:
    small(prefix)
    data = written.data_file(prefix)
    data.write_bytes(data.read_bytes()[:-1])
    assert "other in" in refusal(tf, prefix)
    assert f"ends at byte 24 of {data.name}, which has 23" in refusal(tf, prefix)
    data.write_bytes(b"")
    assert "net/first in" in refusal(tf, prefix)
    data.unlink()
    assert f"{data} is missing" in refusal(tf, prefix)


@pytest.mark.parametrize(("kind", "name"), [(1, "Snappy"), (4, "method 4")])
def test_compression_is_named(tf: Any, prefix: Path, kind: int, name: str) -> None:
    index = written.table({b"": written.header()}, kind=kind)
    written.index_file(prefix).write_bytes(index)
    assert f"the block at byte 0 is compressed ({name})" in refusal(tf, prefix)


FLOATS = bytes(8)
CRC = written.crc32c(FLOATS)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (written.entry([2], 8, CRC, dtype=written.INT64), "one of the types float32.*got int64"),
        (written.entry([2], 8, CRC, dtype=77), "got type 77"),
        (written.entry([3], 8, CRC), r"of shape \[3\] must have 12 bytes, got 8"),
        (written.entry([-1], 8, CRC), r"known shape, got \[-1\]"),
        (written.entry([HUGE // 8], 8, CRC), f"must have {HUGE // 2} bytes, got 8"),
        (written.entry([HUGE, HUGE], 8, CRC), "a shape that a tensor can have"),
        (written.entry([HUGE, HUGE, 0], 0, 0), "a shape that a tensor can have"),
        (written.entry([1] * 300, 8, CRC), "more than 254 dimensions"),
        (written.entry([HUGE // 8], HUGE // 2, CRC), f"ends at byte {HUGE // 2} of"),
        (written.entry([2], 8, CRC, offset=HUGE), f"ends at byte {HUGE + 8} of"),
        (written.entry([2], 8, CRC, offset=-8), "ends at byte 0 of"),
        (written.entry([2], -8, CRC), "must have 8 bytes, got -8"),
        (written.entry([2], 8, CRC, shard=1), "must lie in a file below 1, got 1"),
        (written.entry([2], 8, CRC, shard=-1), "got -1"),
        (written.entry([2], 8, CRC, more=written.field(7, b"")), "stored in 1 pieces"),
        (written.entry([2], 8, CRC + 1), "does not have the checksum"),
        (written.entry([2], 8, CRC)[:-1], "a field of 4 bytes has 3 left"),
        (written.field(1, b"text"), "a number is stored as bytes"),
        (written.field(2, 5), "a message is stored as a number"),
        (b"\x0b", "wire type 3"),
        (b"\x12" + written.varint(HUGE), f"a field of {HUGE} bytes has 0 left"),
        (b"\x08" + b"\xff" * 10, "longer than 64 bits"),
        (b"\x08\x81\x00", "longer than it needs"),
    ],
)
def test_hostile_entries(tf: Any, prefix: Path, entry: bytes, said: str) -> None:
    put(prefix, (b"net/weight", entry), data=FLOATS)
    tracemalloc.start()
    with pytest.raises(tf.BadCheckpoint, match=said) as caught:
        read_all(tf, prefix)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "net/weight" in str(caught.value)
    assert peak < 2**20


def test_what_the_header_and_the_names_must_be(tf: Any, prefix: Path) -> None:
    put(prefix, endianness=1)
    assert "little-endian" in refusal(tf, prefix)
    for shards in (0, HUGE):
        put(prefix, shards=shards)
        assert f"1 to 100000 data files, got {shards}" in refusal(tf, prefix)
    for name in (b"net/\xff", b"net/\n", b"\x1b[2J"):
        put(prefix, (name, written.entry([2], 8, CRC)), data=FLOATS)
        assert "printable names in UTF-8" in refusal(tf, prefix)
    written.index_file(prefix).write_bytes(written.table({b"a": b""}))
    assert "has no header" in refusal(tf, prefix)


def test_blocks_lie_in_order_and_side_by_side(tf: Any, prefix: Path) -> None:
    first, second = written.block([(b"", written.header())]), written.block([(b"a", b"")])
    for blocks, keys, said in (
        ([first, b"gap" + second], [b"", b"a"], "begins at byte"),
        ([second, first], [b"a", b""], "comes after"),
        ([first, second, second], [b"", b"a", b"a"], "comes after"),
    ):
        written.index_file(prefix).write_bytes(written.joined(blocks, keys))
        text = refusal(tf, prefix)
        assert said in text or "does not have the checksum" in text
    written.index_file(prefix).write_bytes(b"")
    assert "is no index of a TensorFlow checkpoint" in refusal(tf, prefix)


def test_keys_that_cost_nothing_do_not_exhaust_the_memory(tf: Any, prefix: Path) -> None:
    names = {b"k" * 20 + number.to_bytes(2, "big"): b"" for number in range(1 << 14)}
    index = written.table({b"": written.header(), **names}, block_size=2**30)
    written.index_file(prefix).write_bytes(index)
    assert "more than 16384 entries" in refusal(tf, prefix)
    written.index_file(prefix).write_bytes(written.table({b"": b"", b"k" * 1025: b""}))
    assert "a key is longer than 1024 bytes" in refusal(tf, prefix)


@given(body=st.binary(max_size=60), where=st.binary(max_size=24), message=st.binary(max_size=40))
def test_any_bytes_behind_right_checksums(
    tf: Any, tmp_path_factory: pytest.TempPathFactory, body: bytes, where: bytes, message: bytes
) -> None:
    prefix = tmp_path_factory.mktemp("any") / "model.ckpt"
    put(prefix, (b"net/weight", message), data=FLOATS)
    try_all(tf, prefix)
    content = body + b"\0"
    made = content + written.masked(written.crc32c(content)).to_bytes(4, "little")
    written.index_file(prefix).write_bytes(written.joined([made], [b""]))
    try_all(tf, prefix)
    index = made + where.ljust(40, b"\0")[:40] + written.MAGIC
    written.index_file(prefix).write_bytes(index)
    try_all(tf, prefix)


def try_all(tf: Any, prefix: Path) -> None:
    """Any other exception than BadCheckpoint fails the test."""
    try:
        read_all(tf, prefix)
    except tf.BadCheckpoint as error:
        assert str(prefix) in str(error)
