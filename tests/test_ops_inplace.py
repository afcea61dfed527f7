"""`rope_`: what it writes, and what it refuses before the first write.

The oracle is the out-of-place form, bit for bit, and one step of the version counter. Nothing
outside x is written, and memory that belongs to more than one element, or to x and a table or
position ids as well, is refused; that which only lies beside x is not. The graph that `rope_`
leaves behind is tested in `test_ops_inplace_autograd.py`.
"""

from __future__ import annotations

import pytest
import torch
from bits import assert_same_bits, words
from draw import with_specials
from refusal import refuses
from samples import DTYPES, SAMPLES, Sample

import roformer_ext


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_same_bits_as_out_of_place(
    sample: Sample, dtype: torch.dtype, device: torch.device
) -> None:
    """In place and out of place are one result, in both pair layouts and both directions."""
    if sample.shared_memory:
        pytest.skip("rope_ refuses x whose elements share memory: test_shared_elements_are_refused")
    for interleaved in (False, True):
        for conj in (False, True):
            x, cos, sin, ids, options = with_specials(sample(dtype, device))
            options = {**options, "interleaved": interleaved, "conj": conj}
            expected = roformer_ext.rope(x, cos, sin, ids, **options)
            version, strides = x._version, x.stride()
            y = roformer_ext.rope_(x, cos, sin, ids, **options)
            assert y is x and x.stride() == strides
            assert x._version == version + 1
            assert_same_bits(x, expected)


def test_neighbours_in_the_storage_are_left_alone(device: torch.device) -> None:
    """Rotating a slice of a packed projection writes no element outside the slice."""
    packed = torch.randn(2, 5, 3, 4, 8, device=device)
    before = packed.clone()
    cos, sin = SAMPLES["bhsd"](torch.float32, device)[1:3]
    roformer_ext.rope_(packed[:, :, 1], cos, sin, seq_dim=1)
    assert_same_bits(packed[:, :, 0], before[:, :, 0])
    assert_same_bits(packed[:, :, 2], before[:, :, 2])
    assert_same_bits(packed[:, :, 1], roformer_ext.rope(before[:, :, 1], cos, sin, seq_dim=1))


def test_base_with_heads_equals_two_slices(device: torch.device) -> None:
    """`heads=2H` on the base of a packed projection is q and k rotated one by one."""
    packed = torch.randn(2, 5, 3, 4, 8, device=device)
    one, two = packed.clone(), packed.clone()
    cos, sin = SAMPLES["bhsd"](torch.float32, device)[1:3]
    roformer_ext.rope_(one, cos, sin, seq_dim=1, heads=8)
    for part in (0, 1):
        roformer_ext.rope_(two[:, :, part], cos, sin, seq_dim=1)
    assert_same_bits(one, two)


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if sample.shared_memory])
@pytest.mark.parametrize("grad", ["none", "no_grad", "table"])
def test_shared_elements_are_refused(name: str, grad: str, device: torch.device) -> None:
    """Trap 4: an x whose elements share memory would be written several times, so it is refused,
    gradients or not.
    """
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, device)
    cos.requires_grad_(grad != "none")
    with torch.set_grad_enabled(grad != "no_grad"), refuses("x", unchanged=(x, cos, sin)):
        roformer_ext.rope_(x, cos, sin, ids, **options)


def test_a_stride_of_zero_on_size_one_is_no_overlap(device: torch.device) -> None:
    """Only a stride of 0 with size above 1 shares memory."""
    x, cos, sin, _, _ = SAMPLES["bhsd"](torch.float32, device)
    x = x[:1].as_strided((1, 3, 5, 8), (0, 40, 8, 1))
    expected = roformer_ext.rope(x, cos, sin)
    assert_same_bits(roformer_ext.rope_(x, cos, sin), expected)


def test_strides_that_do_not_nest_are_refused(device: torch.device) -> None:
    """Sorted strides (5, 3) of a 2 x 3 window do not nest."""
    x = torch.randn(64, device=device).as_strided((2, 3, 1), (5, 3, 1))
    cos, sin = torch.ones(3, 0, device=device), torch.ones(3, 0, device=device)
    with refuses("x", unchanged=(x,)):
        roformer_ext.rope_(x, cos, sin)


@pytest.mark.parametrize("which", ["cos", "sin", "both"])
def test_tables_inside_x_are_refused(which: str, device: torch.device) -> None:
    """A table that really shares memory with x would change while it is read."""
    buffer = torch.randn(5, 8, device=device)
    cos, sin = torch.ones(5, 4, device=device), torch.zeros(5, 4, device=device)
    cos = buffer[:, 4:] if which != "sin" else cos
    sin = buffer[:, :4] if which != "cos" else sin
    named = "sin" if which == "sin" else "cos"
    with refuses(named, "x", unchanged=(buffer, cos, sin)):
        roformer_ext.rope_(buffer, cos, sin)


def test_ids_inside_x_are_refused(device: torch.device) -> None:
    """The same for position ids, whose dtype hides the sharing."""
    x = torch.zeros(2, 3, 5, 8, dtype=torch.float64, device=device)
    ids = x.view(torch.int64)[0, 0, :, 0]
    cos, sin = SAMPLES["bhsd"](torch.float32, device)[1:3]
    with refuses("position_ids", "x", unchanged=(x,)):
        roformer_ext.rope_(x, cos, sin, ids)


def test_neighbours_of_x_are_ordinary_tables(device: torch.device) -> None:
    """Sharing a storage is not sharing memory: tables beside x, even row by row between its rows,
    are accepted.
    """
    rows = torch.randn(5, 16, device=device)
    row_by_row = (rows[:, :8], rows[:, 8:12], rows[:, 12:])
    flat = torch.randn(80, device=device)
    one_after_another = (flat[:40].view(5, 8), flat[40:60].view(5, 4), flat[60:].view(5, 4))
    for x, cos, sin in (row_by_row, one_after_another):
        expected = roformer_ext.rope(x, cos, sin)
        assert_same_bits(roformer_ext.rope_(x, cos, sin), expected)


def test_neighbouring_ids_are_accepted(device: torch.device) -> None:
    """Ids after x in one allocation."""
    buffer = torch.zeros(2 * 3 * 5 * 8 + 5, dtype=torch.int64, device=device)
    x = buffer[:240].view(torch.float64).view(2, 3, 5, 8).normal_()
    ids = buffer[240:]
    cos, sin = SAMPLES["bhsd"](torch.float32, device)[1:3]
    expected = roformer_ext.rope(x, cos, sin, ids)
    assert_same_bits(roformer_ext.rope_(x, cos, sin, ids), expected)


def test_refusals_of_arguments_write_nothing(device: torch.device) -> None:
    """An error in the last check leaves x as it was."""
    x, cos, sin, _, _ = with_specials(SAMPLES["bhsd"](torch.float32, device))
    before = words(x).clone()
    if device.type == "cpu":
        ids = torch.tensor([0, 1, 2, 3, 7])
        with refuses("position_ids", "7", "[4]", unchanged=(x, cos, sin)):
            roformer_ext.rope_(x, cos, sin, ids)
    with refuses("heads", "4", unchanged=(x, cos, sin)):
        roformer_ext.rope_(x, cos, sin, heads=4)
    assert torch.equal(words(x), before)
