"""The values and the form of `rope`'s result, on every sample.

Two oracles, both bit for bit: `reference.rope`, the mathematics in plain PyTorch, and
`_rope_composite`, the same operator made of ATen calls, which stands in for the kernel under
functorch and in compiled code. They can only stay interchangeable while no backend fuses or
reorders the arithmetic, and while all lay out their result alike.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from bits import assert_same_bits, same_bits, words
from draw import with_specials
from samples import DTYPES, SAMPLES, Sample

import roformer_ext
from roformer_ext import reference

COMPOSITE = torch.ops.roformer_ext._rope_composite.default
DIRECTIONS = tuple(itertools.product((False, True), (False, True)))


def _strides(tensor: torch.Tensor) -> tuple[int, ...]:
    """Strides of the dims that have one; sizes 0 and 1 leave theirs open."""
    if tensor.numel() == 0:
        return ()
    return tuple(
        stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bits_of_reference_and_composite(
    sample: Sample, dtype: torch.dtype, device: torch.device
) -> None:
    """Kernel, composite and reference agree in every bit, in both layouts and directions."""
    x, cos, sin, ids, options = with_specials(sample(dtype, device))
    for interleaved, conj in DIRECTIONS:
        options = {**options, "interleaved": interleaved, "conj": conj}
        expected = reference.rope(x, cos, sin, ids, **options)
        assert_same_bits(roformer_ext.rope(x, cos, sin, ids, **options), expected)
        assert_same_bits(COMPOSITE(x, cos, sin, ids, **options), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bits_of_cpu_on_the_gpu(dtype: torch.dtype) -> None:
    """CUDA computes what the CPU computes, on every sample."""
    differing = []
    for (name, sample), (interleaved, conj) in itertools.product(SAMPLES.items(), DIRECTIONS):
        here, there = with_specials(sample(dtype, "cpu")), with_specials(sample(dtype, "cuda"))
        options = {**here[4], "interleaved": interleaved, "conj": conj}
        expected = roformer_ext.rope(*here[:4], **options)
        if not same_bits(roformer_ext.rope(*there[:4], **options), expected):
            differing.append((name, interleaved, conj))
    assert not differing


def test_result_form(sample: Sample, device: torch.device) -> None:
    """Trap 5: the result has x's shape and dtype, `empty_like`'s strides from every backend, and
    its own memory.
    """
    x, cos, sin, ids, options = sample(torch.float32, device)
    expected = torch.empty_like(x)
    meta_ids = None if ids is None else ids.to("meta")
    meta_x = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
    fake = roformer_ext.rope(meta_x, cos.to("meta"), sin.to("meta"), meta_ids, **options)
    for result in (
        roformer_ext.rope(x, cos, sin, ids, **options),
        COMPOSITE(x, cos, sin, ids, **options),
    ):
        assert result.shape == x.shape and result.dtype == x.dtype
        assert _strides(result) == _strides(expected)
        if x.numel():
            assert result.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()
    assert fake.shape == x.shape and fake.dtype == x.dtype
    assert _strides(fake) == _strides(expected)


def test_inputs_are_only_read(sample: Sample, device: torch.device) -> None:
    """The functional form writes none of its inputs."""
    x, cos, sin, ids, options = with_specials(sample(torch.float32, device))
    before = [(words(tensor).clone(), tensor._version) for tensor in (x, cos, sin)]
    roformer_ext.rope(x, cos, sin, ids, **options)
    for tensor, (bits, version) in zip((x, cos, sin), before, strict=True):
        assert torch.equal(words(tensor), bits)
        assert tensor._version == version


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("interleaved", [False, True], ids=["half", "adjacent"])
def test_untouched_elements_keep_their_bits(
    dtype: torch.dtype, interleaved: bool, device: torch.device
) -> None:
    """Channels outside the rotary part, later heads and tokens at -1 pass through, NaN payloads
    included.
    """
    x, cos, sin, _, _ = SAMPLES["offset"](dtype, device)
    pattern = torch.finfo(dtype).bits
    words_of_x = x.view({16: torch.int16, 32: torch.int32, 64: torch.int64}[pattern])
    # A signalling NaN with a payload: arithmetic would quieten it, a copy must not.
    signalling = {
        torch.float16: 0x7C15,
        torch.bfloat16: 0x7F95,
        torch.float32: 0x7F800015,
        torch.float64: 0x7FF0000000000015,
    }
    words_of_x.fill_(signalling[dtype])
    ids = torch.tensor([0, -1, 2, -1, 1], device=device)
    options = {"interleaved": interleaved, "rotary_offset": 2, "heads": 2}
    for rope in (roformer_ext.rope, COMPOSITE):
        y = rope(x, cos, sin, ids, **options)
        for part in (y[..., :2], y[..., 10:], y[:, 2:], y[:, :, ids == -1]):
            assert bool((words(part) == signalling[dtype]).all())


def test_minus_one_shields_from_nan_tables(device: torch.device) -> None:
    """A token at -1 reads no table row, so a table of NaN cannot reach it."""
    x, cos, sin, _, _ = SAMPLES["bhsd"](torch.float32, device)
    cos, sin = torch.full_like(cos, torch.nan), torch.full_like(sin, torch.nan)
    ids = torch.full((5,), -1, device=device)
    for rope in (roformer_ext.rope, COMPOSITE):
        assert_same_bits(rope(x, cos, sin, ids), x)


@pytest.mark.parametrize("name", ["projection", "projection_adjacent", "projection_of_two"])
def test_packed_projection_without_heads_is_rotated(name: str, device: torch.device) -> None:
    """Trap 3: a 5-D x without `heads` rotates every head of every part, in the kernel as in the
    composite.
    """
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, device)
    options.pop("seq_dim")
    flat = roformer_ext.rope(x.flatten(2, 3), cos, sin, ids, seq_dim=1, **options).view_as(x)
    assert not torch.equal(flat[:, 1:], x[:, 1:])
    for rope in (roformer_ext.rope, COMPOSITE):
        assert_same_bits(rope(x, cos, sin, ids, seq_dim=1, **options), flat)
        assert_same_bits(
            rope(x, cos, sin, ids, seq_dim=1, heads=x.size(2) * x.size(3), **options), flat
        )


def test_one_dimensional_overlap_of_table_forms(device: torch.device) -> None:
    """Two-dimensional x reads a two-dimensional table as rows, so that ids choose among more rows
    than tokens.
    """
    x, cos, sin, _, _ = SAMPLES["sd"](torch.float32, device)
    ids = torch.tensor([6, 0, 6, -1, 3], device=device)
    expected = torch.where((ids == -1)[:, None], x, roformer_ext.rope(x, cos[ids], sin[ids]))
    assert_same_bits(roformer_ext.rope(x, cos, sin, ids), expected)


def test_three_dimensional_tables_follow_x(device: torch.device) -> None:
    """For 3-D x a 3-D table has x's own layout: [T,H,R] per head when packed, never [B,S,R]."""
    x, cos, sin, _, options = SAMPLES["heads_packed"](torch.float32, device)
    y = roformer_ext.rope(x, cos, sin, **options)
    for token, head in itertools.product(range(x.size(0)), range(x.size(1))):
        row = roformer_ext.rope(
            x[token, head][None], cos[token, head][None], sin[token, head][None], interleaved=True
        )
        assert_same_bits(y[token, head], row[0])


def test_check_values_of_the_rotation() -> None:
    """Eq. 15 on a counting tensor with the table of head width 64; literal values to 1e-4."""
    q = torch.arange(2 * 12 * 16 * 64, dtype=torch.float32).view(2, 12, 16, 64) / 100
    y = roformer_ext.rope(q, *reference.tables(16, 64), interleaved=True)
    first = torch.tensor([-0.2012, 0.8897, 0.0263, 0.9401, 0.2074, 0.9463, 0.3481, 0.9343])
    fifth = torch.tensor([3.9859, -2.1580, -0.7984, -4.4904, -4.1181, -2.0252, -4.4782, 1.1253])
    torch.testing.assert_close(y[0, 0, 1, :8], first, rtol=0, atol=1e-4)
    torch.testing.assert_close(y[0, 0, 5, :8], fifth, rtol=0, atol=1e-4)


def test_check_values_of_the_table() -> None:
    """Row 1 of the table for head width 6, written [sin | cos]."""
    cos, sin = reference.tables(4, 6)
    row = torch.cat((sin[1], cos[1]))
    expected = torch.tensor([0.8415, 0.0464, 0.0022, 0.5403, 0.9989, 1.0000])
    torch.testing.assert_close(row, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("grad", [False, True], ids=["plain", "table gradient"])
def test_autocast_changes_nothing(dtype: torch.dtype, grad: bool, device: torch.device) -> None:
    """Trap 7: neither the kernel's nor the composite's tables and result change dtype under
    autocast.
    """
    x, cos, sin, ids, options = SAMPLES["ids_bs"](dtype, device)
    cos.requires_grad_(grad)
    expected = roformer_ext.rope(x, cos, sin, ids, **options)
    with torch.autocast(device.type, torch.bfloat16):
        assert_same_bits(roformer_ext.rope(x, cos, sin, ids, **options), expected)
        assert_same_bits(COMPOSITE(x, cos, sin, ids, **options), expected)
        batched = torch.func.vmap(lambda part: roformer_ext.rope(part, cos, sin, ids, **options))(
            x[None]
        )
    assert_same_bits(batched[0], expected)


def test_inference_mode(device: torch.device) -> None:
    """Inference tensors are ordinary input, out of place and in place."""
    with torch.inference_mode():
        x, cos, sin, ids, options = SAMPLES["ids_bs"](torch.float32, device)
        expected = reference.rope(x, cos, sin, ids, **options)
        assert_same_bits(roformer_ext.rope(x, cos, sin, ids, **options), expected)
        assert_same_bits(roformer_ext.rope_(x, cos, sin, ids, **options), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_large_outputs(dtype: torch.dtype) -> None:
    """Outputs beyond the cache, which are written past it, hold the same bits; so do odd offsets of
    theirs.
    """
    generator = torch.Generator().manual_seed(3)
    flat = torch.randn(2 * 4096 * 12 * 64 + 1, generator=generator).to(dtype)
    for x in (flat[:-1].view(2, 4096, 12, 64), flat[1:].view(2, 4096, 12, 64)):
        cos, sin = reference.tables(4096, 64)
        for interleaved in (False, True):
            expected = reference.rope(x, cos, sin, interleaved=interleaved, seq_dim=1)
            assert_same_bits(
                roformer_ext.rope(x, cos, sin, interleaved=interleaved, seq_dim=1), expected
            )
