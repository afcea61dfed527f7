"""The oracle itself: the paper's numbers and equations, and the contract channel by channel.

Everything else is held to `reference.py`, so it is held here to things that share no code with it:
literal values, Eq. 14 to 16, 34 to 37, and loops over single elements.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from roformer_ext import decay_curve, reference

POSITIONS = (0, 1, 7, 511, 100_003)


def double(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_rotation_has_the_literal_values() -> None:
    q = (torch.arange(2 * 12 * 16 * 64, dtype=torch.float32) / 100).view(2, 12, 16, 64)
    y = reference.rope(q, *reference.tables(16, 64), interleaved=True)
    first = [-0.2012, 0.8897, 0.0263, 0.9401, 0.2074, 0.9463, 0.3481, 0.9343]
    fifth = [3.9859, -2.1580, -0.7984, -4.4904, -4.1181, -2.0252, -4.4782, 1.1253]
    torch.testing.assert_close(y[0, 0, 1, :8], torch.tensor(first), atol=1e-4, rtol=0)
    torch.testing.assert_close(y[0, 0, 5, :8], torch.tensor(fifth), atol=1e-4, rtol=0)


def test_table_has_the_literal_values_and_is_rounded_once() -> None:
    cos, sin = reference.tables(2, 6)
    row = torch.cat((sin[1], cos[1]))
    expected = torch.tensor([0.8415, 0.0464, 0.0022, 0.5403, 0.9989, 1.0000])
    torch.testing.assert_close(row, expected, atol=5e-5, rtol=0)

    positions = torch.tensor([1536, 2**31 - 1])
    cos, sin = reference.tables(positions, 64)
    for (p, position), i in itertools.product(enumerate(positions.tolist()), (0, 1, 31)):
        angle = position * 10000.0 ** (-2 * i / 64)
        assert abs(cos[p, i].item() - math.cos(angle)) < 2**-24 + 1e-6 * (p == 1)
        assert abs(sin[p, i].item() - math.sin(angle)) < 2**-24 + 1e-6 * (p == 1)


@pytest.mark.parametrize(
    ("head_dim", "values"),
    [
        (
            128,
            "0:32.5 1:31.538 2:28.956 5:20.845 10:17.954 20:15.242 50:12.629 100:10.227 150:7.588 "
            "200:7.245 250:6.548 512:5.311 1024:4.024 1536:3.465 4096:4.883",
        ),
        (64, "0:16.5 1:15.948 10:8.814 50:5.733 100:7.465 250:3.669 512:2.986 1536:5.708"),
    ],
)
def test_decay_curve_has_the_literal_values(head_dim: int, values: str) -> None:
    pairs = [pair.split(":") for pair in values.split()]
    distances = [int(distance) for distance, _ in pairs]
    curve = decay_curve(head_dim, torch.tensor(distances))
    expected = torch.tensor([float(value) for _, value in pairs], dtype=torch.float64)
    assert curve.shape == expected.shape
    torch.testing.assert_close(curve, expected, atol=6e-4, rtol=0)
    assert torch.equal(decay_curve(head_dim, distances), curve)
    alone = decay_curve(head_dim, distances[1])
    assert alone.shape == ()
    assert alone == curve[1]


def test_decay_curve_falls_up_to_250_but_not_monotonically() -> None:
    curve = decay_curve(128, torch.arange(251))
    means = curve[:250].view(5, 50).mean(1)
    assert (means.diff() < 0).all()
    assert (curve.diff() > 0).any()


def test_scores_are_bounded_by_the_partial_sums() -> None:
    """Eq. 35 to 37: abs(sum h_i e^(i d theta_i)) <= max abs(h_{i+1} - h_i) * sum abs(S_{i+1})."""
    q, k = double(64), double(64)
    h = torch.complex(q[::2], q[1::2]) * torch.complex(k[::2], k[1::2]).conj()
    steps = torch.cat((h, h.new_zeros(1))).diff().abs().max()
    for distance in POSITIONS:
        cos, sin = reference.tables(torch.tensor([distance]), 64, dtype=torch.float64)
        score = (h * torch.complex(cos[0], sin[0])).sum().abs()
        bound = steps * reference.partial_sums(64, distance).abs().sum()
        assert score <= bound * (1 + 1e-12)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("head_dim", [2, 6, 64])
def test_matrix_form_pair_form_and_rope_agree(position: int, head_dim: int) -> None:
    x = double(3, head_dim)
    matrix = reference.rotation_matrix(position, head_dim)
    cos, sin = reference.tables(torch.tensor([position] * 3), head_dim, dtype=torch.float64)
    expected = x @ matrix.T
    torch.testing.assert_close(reference.pair_form(x, cos, sin), expected)
    torch.testing.assert_close(reference.rope(x, cos, sin, interleaved=True), expected)
    back = reference.rope(expected, cos, sin, interleaved=True, conj=True)
    torch.testing.assert_close(back, x)
    order = torch.cat((torch.arange(0, head_dim, 2), torch.arange(1, head_dim, 2)))
    halves = reference.rope(x[:, order], cos, sin)
    torch.testing.assert_close(halves, expected[:, order])


def test_rotation_matrices_form_a_group() -> None:
    """Eq. 16: orthogonal, R_a R_b = R_{a+b}, R_{-m} = R_m^T, and norms are kept."""
    a, b = (reference.rotation_matrix(m, 32) for m in (19, 523))
    torch.testing.assert_close(a @ a.T, torch.eye(32, dtype=torch.float64))
    torch.testing.assert_close(a @ b, reference.rotation_matrix(19 + 523, 32))
    torch.testing.assert_close(reference.rotation_matrix(-19, 32), a.T)
    x = double(32)
    torch.testing.assert_close((b @ x).norm(), x.norm())


def test_scores_depend_on_relative_position_alone() -> None:
    """Eq. 11 (a common shift changes nothing) and Eq. 16 (the score is q^T R_{n-m} k)."""
    q, k = double(5, 32), double(5, 32)

    def scores(shift: int) -> torch.Tensor:
        cos, sin = reference.tables(torch.arange(5) + shift, 32, dtype=torch.float64)
        rotated = (reference.rope(x, cos, sin, interleaved=True) for x in (q, k))
        return next(rotated) @ next(rotated).T

    torch.testing.assert_close(scores(0), scores(1000), atol=1e-10, rtol=1e-10)
    m, n = 1, 4
    relative = q[m] @ reference.rotation_matrix(n - m, 32) @ k[n]
    torch.testing.assert_close(scores(0)[m, n], relative)


def one_by_one(x, cos, sin, ids, *, interleaved, seq_dim, rotary_offset, heads, conj):
    """The contract as loops over tokens and pairs; one float operation at a time."""
    layout = reference.LAYOUTS[x.dim()][seq_dim]
    arithmetic = torch.float64 if x.dtype == torch.float64 else torch.float32
    out = x.clone()
    for index in itertools.product(*map(range, x.shape[:-1])):
        at = dict(zip(layout, index))
        head = at.get("p", 0) * x.shape[layout.index("h")] + at["h"] if "h" in at else 0
        if cos.dim() == 2:
            row = at["s"]
            if ids is not None:
                row = int(ids[at.get("b", 0) if len(ids) > 1 else 0, at["s"]])
        elif cos.dim() == x.dim():
            row = tuple(i if n > 1 else 0 for i, n in zip(index, cos.shape))
        else:
            row = (at.get("b", 0) if cos.shape[0] > 1 else 0, at["s"])
        if row == -1 or (heads is not None and head >= heads):
            continue
        pairs = cos.shape[-1]
        for i in range(pairs):
            o = rotary_offset
            first, second = (o + 2 * i, o + 2 * i + 1) if interleaved else (o + i, o + pairs + i)
            c, s = cos[row][i].to(arithmetic), sin[row][i].to(arithmetic)
            s = -s if conj else s
            x1, x2 = x[index][first].to(arithmetic), x[index][second].to(arithmetic)
            out[index][first] = (x1 * c - x2 * s).to(x.dtype)
            out[index][second] = (x1 * s + x2 * c).to(x.dtype)
    return out


LAYOUTS = [(dims, seq_dim) for dims, by_dim in reference.LAYOUTS.items() for seq_dim in by_dim]
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@pytest.mark.parametrize(("dims", "seq_dim"), LAYOUTS)
@pytest.mark.parametrize("form", ["table", "ids", "shared ids", "per token", "broadcast"])
def test_every_layout_and_table_form_equals_single_steps(
    dims: int, seq_dim: int, form: str
) -> None:
    layout = reference.LAYOUTS[dims][seq_dim]
    sizes = {"b": 2, "s": 3, "p": 3, "h": 2, "d": 7}
    shape = [sizes[letter] for letter in layout]
    batch = 2 if "b" in layout else 1
    for case, dtype in enumerate(DTYPES):
        pairs, rotary_offset = [(3, 1), (2, 0), (1, 4), (0, 7)][case]
        table_shape = {
            "per token": (batch, 3, pairs),
            "broadcast": (*(n if i % 2 else 1 for i, n in enumerate(shape[:-1])), pairs),
        }.get(form, (5, pairs))
        if len(table_shape) == dims == 2:
            table_shape = (5, pairs)
        if form == "per token" and dims == 3:
            table_shape = (3, 1, pairs) if seq_dim == 0 else table_shape
        ids = {
            "ids": torch.randint(-1, 5, (batch, 3), dtype=torch.int32),
            "shared ids": torch.tensor([[4, -1, 4]]),
        }.get(form)
        x = torch.randn(shape[::-1]).to(dtype).permute(*reversed(range(dims)))
        cos, sin = (torch.randn(table_shape).to(DTYPES[case - 1]) for _ in range(2))
        options = {
            "interleaved": case % 2 == 0,
            "seq_dim": seq_dim,
            "rotary_offset": rotary_offset,
            "heads": [None, 0, 1, 2][case] if "h" in layout else None,
            "conj": case > 1,
        }
        y = reference.rope(x, cos, sin, ids, **options)
        assert torch.equal(y, one_by_one(x, cos, sin, ids, **options))
        assert y.dtype == x.dtype
        assert y.stride() == torch.empty_like(x).stride()
        assert y.data_ptr() != x.data_ptr()
        options["seq_dim"] -= dims
        assert torch.equal(y, reference.rope(x, cos, sin, ids, **options))


def test_what_is_not_rotated_passes_bit_for_bit() -> None:
    x = torch.tensor([[math.inf, -0.0, math.nan, -math.inf, 1e-45, -0.0]]).expand(3, 6)
    table = torch.rand(4, 3)
    y = reference.rope(x, table, table, torch.tensor([-1, -1, -1]))
    assert torch.equal(y.view(torch.int32), x.contiguous().view(torch.int32))
    y = reference.rope(x.unsqueeze(1), table, table, seq_dim=0, heads=0)
    assert torch.equal(y[:, 0].view(torch.int32), x.contiguous().view(torch.int32))


@pytest.mark.parametrize("wrong", [-2, 5])
def test_ids_outside_the_table_are_refused(wrong: int) -> None:
    table = torch.rand(5, 2)
    with pytest.raises(IndexError):
        reference.rope(torch.rand(3, 8), table, table, torch.tensor([0, wrong, -1]))


def test_odd_widths_are_refused() -> None:
    with pytest.raises(RuntimeError, match="even"):
        reference.tables(4, 7)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("conj", [False, True])
def test_full_width_with_repeated_tables_is_rope(interleaved: bool, conj: bool) -> None:
    x, ids = torch.randn(2, 3, 4, 9), torch.tensor([[0, 5, -1, 5], [1, 1, 0, 2]])
    cos, sin = torch.randn(6, 3), torch.randn(6, 3)
    options = {"interleaved": interleaved, "conj": conj, "rotary_offset": 2, "heads": 2}
    full = [t.repeat_interleave(2, 1) if interleaved else t.repeat(1, 2) for t in (cos, sin)]
    y = reference.rope_full_width(x, *full, ids, **options)
    assert torch.equal(y, reference.rope(x, cos, sin, ids, **options))


@pytest.mark.parametrize("interleaved", [False, True])
def test_conj_is_the_transpose_also_for_independent_tables(interleaved: bool) -> None:
    cos, sin, x, y = double(4, 6), double(4, 6), double(4, 6), double(4, 6)
    for function, table in ((reference.rope_full_width, 6), (reference.rope, 3)):
        tables = cos[:, :table], sin[:, :table]
        forward = function(x, *tables, interleaved=interleaved)
        transposed = function(y, *tables, interleaved=interleaved, conj=True)
        torch.testing.assert_close((y * forward).sum(), (transposed * x).sum())


def test_reference_is_differentiable_to_second_order() -> None:
    x, cos, sin = (t.requires_grad_() for t in (double(2, 3, 2, 6), double(4, 2), double(4, 2)))
    ids = torch.tensor([[0, 3], [3, -1]])

    def rotate(x, cos, sin):
        return reference.rope(x, cos, sin, ids, heads=2, rotary_offset=1)

    assert torch.autograd.gradcheck(rotate, (x, cos, sin), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(rotate, (x, cos, sin))
