"""Single files of tensors: every byte that lies is refused, and nothing in a file is ever run."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from roformer_ext.tensor_file import DTYPES, read_pickle, read_safetensors, write_safetensors


def some() -> dict[str, Tensor]:
    return {
        "plane": torch.arange(6.0).view(2, 3),
        "half": torch.arange(5, dtype=torch.float16),
        "flag": torch.tensor([True, False, True]),
        "one": torch.tensor(3, dtype=torch.int64),
        "none": torch.empty(0, 2),
    }


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def raw(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """A file with this header, true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + text + data)
    return path


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_every_dtype_comes_back(tmp_path: Path, dtype: torch.dtype) -> None:
    values = {"x": torch.arange(7).to(dtype), "y": torch.arange(6).view(2, 3).T.to(dtype)}
    write_safetensors(tmp_path / "x", values)
    assert same(read_safetensors(tmp_path / "x"), values)


def test_tensors_begin_at_multiples_of_their_width(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x", some())
    for tensor in read_safetensors(tmp_path / "x").values():
        assert tensor.data_ptr() % tensor.element_size() == 0
    # A file of others need not.
    header = {"a": entry("U8", [1], [0, 1]), "b": entry("F32", [1], [1, 5])}
    path = raw(tmp_path / "odd", header, b"\1\0\0\x80\x3f")
    assert read_safetensors(path)["b"].item() == 1.0


def test_what_cannot_be_stored(tmp_path: Path) -> None:
    for bad in (torch.empty(2, device="meta"), torch.zeros(2, dtype=torch.complex64)):
        with pytest.raises(ValueError, match="x must have values of a plain dtype, got "):
            write_safetensors(tmp_path / "x", {"x": bad})
    assert not (tmp_path / "x").exists()
    write_safetensors(tmp_path / "x", some())
    with pytest.raises(FileExistsError):
        write_safetensors(tmp_path / "x", some())


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ([], b"", "must have a JSON object as its header, got list"),
        (b"{", b"", "must have a header of JSON at byte 8"),
        (b"\xff", b"", "must have a header of JSON at byte 8"),
        (b"[" * 100_000, b"", "must have a header of JSON at byte 8"),
        (b'{"x": 1, "x": 2}', b"", "'x' stands in it twice"),
        ({"x": 3}, b"", "must give x a dtype of BOOL, U8"),
        ({"x": entry(dtype="F128")}, bytes(8), "must give x a dtype of .*, got 'F128'"),
        ({"x": entry(dtype=["F32"])}, bytes(8), "must give x a dtype"),
        ({"x": entry(shape=[-2])}, bytes(8), r"must give x a shape of sizes, got \[-2\]"),
        ({"x": entry(shape=[True])}, bytes(8), "must give x a shape of sizes"),
        ({"x": entry(shape=[2.0])}, bytes(8), "must give x a shape of sizes"),
        ({"x": entry(shape=[1] * 17)}, bytes(4), "must give x a shape of sizes"),
        ({"x": entry(shape=[2**63, 0], offsets=[0, 0])}, b"", "must give x a shape of sizes"),
        ({"x": entry(offsets=[0])}, bytes(8), "must give x two data_offsets"),
        ({"x": entry(offsets=[8, 0])}, bytes(8), "must give x, F32 of shape .*, 8 bytes, got -8"),
        ({"x": entry(shape=[2**62, 8])}, bytes(8), "must give x, F32 of shape"),
        ({"x": entry(offsets=[1, 9])}, bytes(9), "must hold x from byte 0 of its data on"),
        ({"x": entry()}, bytes(7), "must hold x up to byte 8 of its data, got 7 bytes"),
        ({"x": entry()}, bytes(9), "must end with its last tensor, 8 bytes of data, got 9"),
        ({"x": entry(), "y": entry()}, bytes(8), "must hold y from byte 8 of its data on"),
        ({"x": entry(), "y": entry(offsets=[9, 17])}, bytes(17), "must hold y from byte 8"),
    ],
)
def test_headers_that_lie(tmp_path: Path, header: Any, data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_safetensors(raw(tmp_path / "x", header, data))
    assert str(tmp_path / "x") in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("length", [3, 2**62, 2**64 - 1, 100_000_001])
def test_a_header_longer_than_the_file(tmp_path: Path, length: int) -> None:
    with pytest.raises(ValueError, match=r"must hold its header of|must have a header of JSON"):
        read_safetensors(raw(tmp_path / "x", {}, length=length))


def test_truncated_anywhere(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "whole", some())
    data = (tmp_path / "whole").read_bytes()
    for size in range(len(data)):
        (tmp_path / "cut").write_bytes(data[:size])
        with pytest.raises(ValueError, match=str(tmp_path / "cut")):
            read_safetensors(tmp_path / "cut")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_read_or_are_refused(tmp_path: Path, data: st.DataObject) -> None:
    write_safetensors(path := tmp_path / str(len(list(tmp_path.iterdir()))), some())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        for tensor in read_safetensors(path).values():
            tensor.float().sum()
    except ValueError as error:
        assert str(path) in str(error)


def test_pickles(tmp_path: Path) -> None:
    for zipped in (True, False):
        torch.save(some(), tmp_path / "x", _use_new_zipfile_serialization=zipped)
        assert same(read_pickle(tmp_path / "x"), some())
    with_parameter = {"x": torch.nn.Parameter(torch.ones(2))}
    torch.save(with_parameter, tmp_path / "x")
    assert not read_pickle(tmp_path / "x")["x"].requires_grad


class Runs:
    """Leaves a trace when it is unpickled by somebody careless."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_pickle_is_run(tmp_path: Path, zipped: bool) -> None:
    state = {"x": Runs(tmp_path / "trace")}
    torch.save(state, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"must be a state dict that torch.load\(weights_only"):
        read_pickle(tmp_path / "x")
    (tmp_path / "y").write_bytes(pickle.dumps(state))
    with pytest.raises(ValueError, match="must be a state dict that"):
        read_pickle(tmp_path / "y")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "must hold a dict of tensors, got list"),
        ({"x": 3}, "must hold tensors by name, got int under 'x'"),
        ({3: torch.ones(1)}, "must hold tensors by name, got Tensor under 3"),
        ({"x": torch.empty(2, device="meta")}, "must hold x as a plain tensor of values"),
        ({"x": torch.eye(2).to_sparse()}, "must hold x as a plain tensor of values"),
        ({"x": torch.ones(1).expand(10**9)}, "must store all 1000000000 values of x, got fewer"),
    ],
)
def test_pickles_of_other_things(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "x")
    with pytest.raises(ValueError, match=message):
        read_pickle(tmp_path / "x")


def test_truncated_pickles(tmp_path: Path) -> None:
    torch.save(some(), tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    for size in range(0, len(data), 37):
        (tmp_path / "cut").write_bytes(data[:size])
        with pytest.raises(ValueError, match=str(tmp_path / "cut")):
            read_pickle(tmp_path / "cut")


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1000)}, tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "x") as old, zipfile.ZipFile(tmp_path / "y", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"must hold .* uncompressed"):
        read_pickle(tmp_path / "y")
