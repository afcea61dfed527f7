"""What a rotation is, as properties over drawn shapes, positions and values.

Equation 16 of the paper: the matrix is orthogonal, R(a) R(b) = R(a + b), and the transpose undoes
it; Eq. 11: the score of two rotated vectors depends on the difference of their positions alone.
Besides these, the operator is linear in x, leaves position -1 alone, and commutes with slicing.
Everything in float64 with tables in float64.
"""

from __future__ import annotations

import hypothesis.strategies as st
import torch
from bits import assert_same_bits
from hypothesis import given
from torch import Tensor

import roformer_ext
from roformer_ext import reference

CLOSE = {"rtol": 1e-11, "atol": 1e-11}
LIMIT = 64

pairs = st.integers(1, 9)
lengths = st.integers(1, 6)
layouts = st.booleans()
seeds = st.integers(0, 2**31)


def _values(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _ids(seed: int, length: int, low: int = 0, high: int = LIMIT) -> Tensor:
    return torch.randint(low, high, (2, length), generator=torch.Generator().manual_seed(seed))


def _rotate(x: Tensor, ids: Tensor, interleaved: bool, **options: object) -> Tensor:
    cos, sin = reference.tables(2 * LIMIT, x.size(-1), dtype=torch.float64)
    return roformer_ext.rope(x, cos, sin, ids, interleaved=interleaved, **options)


@given(pairs, lengths, layouts, seeds)
def test_norm_is_kept(width: int, length: int, interleaved: bool, seed: int) -> None:
    """Orthogonal: every rotated vector has the length of its source."""
    x = _values(seed, 2, 3, length, 2 * width)
    y = _rotate(x, _ids(seed, length), interleaved)
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1), **CLOSE)


@given(pairs, lengths, layouts, seeds, st.integers(0, LIMIT))
def test_scores_see_differences_of_positions(
    width: int, length: int, interleaved: bool, seed: int, shift: int
) -> None:
    """Eq. 11: a common shift of all positions changes no score."""
    q, k = _values(seed, 2, 3, length, 2 * width), _values(seed + 1, 2, 3, length, 2 * width)
    ids = _ids(seed, length)
    here = _rotate(q, ids, interleaved) @ _rotate(k, ids, interleaved).mT
    there = _rotate(q, ids + shift, interleaved) @ _rotate(k, ids + shift, interleaved).mT
    torch.testing.assert_close(there, here, rtol=1e-10, atol=1e-10)


@given(pairs, lengths, layouts, seeds)
def test_rotations_compose(width: int, length: int, interleaved: bool, seed: int) -> None:
    """R(a) R(b) = R(a + b)."""
    x = _values(seed, 2, 3, length, 2 * width)
    a, b = _ids(seed, length), _ids(seed + 1, length)
    twice = _rotate(_rotate(x, b, interleaved), a, interleaved)
    torch.testing.assert_close(twice, _rotate(x, a + b, interleaved), **CLOSE)


@given(pairs, lengths, layouts, seeds)
def test_conj_undoes(width: int, length: int, interleaved: bool, seed: int) -> None:
    """The transpose of a rotation is its inverse, in either order."""
    x = _values(seed, 2, 3, length, 2 * width)
    ids = _ids(seed, length, low=-1)
    for first in (False, True):
        there = _rotate(x, ids, interleaved, conj=first)
        torch.testing.assert_close(_rotate(there, ids, interleaved, conj=not first), x, **CLOSE)


@given(pairs, lengths, layouts, seeds, st.floats(-100, 100), st.floats(-100, 100))
def test_linear_in_x(
    width: int, length: int, interleaved: bool, seed: int, a: float, b: float
) -> None:
    """R(a x + b y) = a R x + b R y."""
    x, y = _values(seed, 2, 3, length, 2 * width), _values(seed + 1, 2, 3, length, 2 * width)
    ids = _ids(seed, length, low=-1)
    together = _rotate(a * x + b * y, ids, interleaved)
    apart = a * _rotate(x, ids, interleaved) + b * _rotate(y, ids, interleaved)
    torch.testing.assert_close(together, apart, rtol=1e-10, atol=1e-10)


@given(pairs, lengths, layouts, seeds)
def test_minus_one_is_identity(width: int, length: int, interleaved: bool, seed: int) -> None:
    """Tokens at -1 keep their bits, and change nothing for the others."""
    x = _values(seed, 2, 3, length, 2 * width)
    ids = _ids(seed, length)
    left_alone = torch.rand(2, length, generator=torch.Generator().manual_seed(seed)) < 0.5
    y = _rotate(x, ids.masked_fill(left_alone, -1), interleaved)
    expected = torch.where(left_alone[:, None, :, None], x, _rotate(x, ids, interleaved))
    assert_same_bits(y, expected)


@given(pairs, st.integers(2, 8), layouts, seeds, st.data())
def test_slicing_commutes(
    width: int, length: int, interleaved: bool, seed: int, data: st.DataObject
) -> None:
    """Rotating a part is a part of the rotated whole, bit for bit: tokens, heads, batch."""
    x = _values(seed, 2, 3, length, 2 * width)
    ids = _ids(seed, length, low=-1)
    begin = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(begin, length))
    step = data.draw(st.integers(1, 3))
    whole = _rotate(x, ids, interleaved)
    part = _rotate(x[:, :, begin:end:step], ids[:, begin:end:step], interleaved)
    assert_same_bits(part, whole[:, :, begin:end:step])
    assert_same_bits(_rotate(x[:, 1:], ids, interleaved), whole[:, 1:])
    assert_same_bits(_rotate(x[1:], ids[1:], interleaved), whole[1:])


@given(pairs, lengths, layouts, seeds)
def test_ids_choose_rows(width: int, length: int, interleaved: bool, seed: int) -> None:
    """Table and ids, the rows they choose, and the rows broadcast in x's layout are one thing."""
    x = _values(seed, 2, 3, length, 2 * width)
    ids = _ids(seed, length)
    cos, sin = reference.tables(LIMIT, 2 * width, dtype=torch.float64)
    by_ids = roformer_ext.rope(x, cos, sin, ids, interleaved=interleaved)
    rows = roformer_ext.rope(x, cos[ids], sin[ids], interleaved=interleaved)
    broadcast = roformer_ext.rope(x, cos[ids][:, None], sin[ids][:, None], interleaved=interleaved)
    assert_same_bits(rows, by_ids)
    assert_same_bits(broadcast, by_ids)


@given(pairs, lengths, seeds)
def test_pair_layouts_are_permutations(width: int, length: int, seed: int) -> None:
    """The half layout is the adjacent one with the channels reordered."""
    x = _values(seed, 2, 3, length, 2 * width)
    ids = _ids(seed, length)
    order = torch.arange(2 * width).view(2, width).t().reshape(-1)
    adjacent = _rotate(x[..., order], ids, True)
    assert_same_bits(adjacent, _rotate(x, ids, False)[..., order])


@given(pairs, lengths, seeds)
def test_matrix_form(width: int, length: int, seed: int) -> None:
    """Eq. 15 written out: the block-diagonal matrix of one position times x."""
    x = _values(seed, 1, 1, length, 2 * width)
    ids = _ids(seed, length)[:1]
    y = _rotate(x, ids, True)
    for place, position in enumerate(ids[0].tolist()):
        expected = reference.rotation_matrix(position, 2 * width) @ x[0, 0, place]
        torch.testing.assert_close(y[0, 0, place], expected, **CLOSE)


@given(pairs, lengths, st.sampled_from([0, 1, 2, 3, 4, 5, 6]), seeds, layouts)
def test_heads_of_a_projection(
    width: int, length: int, heads: int, seed: int, interleaved: bool
) -> None:
    """`heads` rotates the first heads of the flattened projection and copies the others."""
    x = _values(seed, 2, length, 3, 2, 2 * width)
    cos, sin = reference.tables(length, 2 * width, dtype=torch.float64)
    y = roformer_ext.rope(x, cos, sin, interleaved=interleaved, seq_dim=1, heads=heads).flatten(
        2, 3
    )
    flat = x.flatten(2, 3)
    whole = roformer_ext.rope(flat, cos, sin, interleaved=interleaved, seq_dim=1)
    assert_same_bits(y[:, :, :heads], whole[:, :, :heads])
    assert_same_bits(y[:, :, heads:], flat[:, :, heads:])
