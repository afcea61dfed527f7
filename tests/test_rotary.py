"""RotaryEmbedding: the tables stay what they are whatever happens to the module around them.

Casts, moves, copies, growth, ids and far positions. The modes of torch that a first call may happen
in are in test_rotary_modes.py, compiled and exported graphs in test_rotary_compile.py.
"""

from __future__ import annotations

import copy
import io
import math
import weakref

import pytest
import torch
from rotary_check import WIDTH, check, expected, qk
from torch import nn

from roformer_ext import RotaryEmbedding, reference


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("scale", torch.ones(2))
        self.rotary = RotaryEmbedding(WIDTH, max_position=8, device="cpu")

    def forward(self, q, k, position_ids=None, **options):
        return self.rotary(q, k, position_ids, **options)


def halve_buffers(model: nn.Module) -> nn.Module:
    """What FSDP's mixed precision does to a module."""
    for buffer in model.buffers():
        buffer.data = buffer.data.half()
    return model


def save_and_load(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Model()


CONVERSIONS = {
    "half": lambda m: m.half(),
    "bfloat16": lambda m: m.to(torch.bfloat16),
    "double": lambda m: m.double(),
    "buffers cast": halve_buffers,
    "to_empty": lambda m: m.to_empty(device="cpu"),
    "made on meta": lambda m: on_meta().to_empty(device="cpu"),
    "to meta and back": lambda m: m.to("meta").to_empty(device="cpu"),
    "deepcopy": copy.deepcopy,
    "saved": save_and_load,
    "zero_grad and train": lambda m: m.train().requires_grad_(False),
}


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS.keys())
@pytest.mark.parametrize("used_before", [False, True])
def test_tables_survive(convert, used_before: bool) -> None:
    model = Model()
    if used_before:
        check(model, 20)
    model = convert(model)
    for length in (5, 40):
        check(model, length)
    check(model, 6, torch.tensor([7, 3, -1, 0, 39, 1]))
    assert {t.dtype for t in model.rotary.tables(9)} == {torch.float32}
    assert torch.equal(model.rotary.tables(9)[1], reference.tables(9, WIDTH)[1])


def test_nothing_is_in_the_state_dict() -> None:
    rotary = RotaryEmbedding(WIDTH, max_position=8, device="cpu")
    check(rotary, 30)
    assert not rotary.state_dict()
    assert not list(rotary.buffers())
    assert not list(rotary.parameters())
    model = Model()
    assert sorted(model.state_dict()) == ["linear.bias", "linear.weight", "scale"]
    model.load_state_dict(Model().state_dict(), strict=True)


def test_copies_carry_numbers_and_not_tables() -> None:
    rotary = RotaryEmbedding(WIDTH)
    check(rotary, 3000)
    file = io.BytesIO()
    torch.save(rotary, file)
    assert file.tell() < 3000
    assert copy.deepcopy(rotary).max_position == 3000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_activations_of_any_dtype_meet_the_same_table(dtype: torch.dtype) -> None:
    rotary = RotaryEmbedding(WIDTH).to(dtype)
    for x, y in zip(pair := qk(2, 3, 9, dtype=dtype), rotary(*pair)):
        assert y.dtype == dtype
        assert torch.equal(y, expected(x))


def test_float64_tables_on_request() -> None:
    rotary = RotaryEmbedding(WIDTH, dtype=torch.float64).half()
    cos, sin = rotary.tables(2000)
    exact = reference.tables(2000, WIDTH, dtype=torch.float64)
    assert cos.dtype == torch.float64
    assert torch.equal(cos, exact[0])
    assert torch.equal(sin, exact[1])


def test_conversion_lets_go_of_tables() -> None:
    rotary = RotaryEmbedding(WIDTH, max_position=8, device="cpu")
    table = weakref.ref(rotary.tables(8)[0]._base)
    assert table() is not None
    rotary.to("meta")
    assert table() is None


def test_base_factor_and_layout() -> None:
    rotary = RotaryEmbedding(WIDTH, base=500.0, factor=4.0, interleaved=False)
    cos, sin = reference.tables(torch.arange(9) / 4, WIDTH, base=500.0)
    q, k = qk(2, 3, 9)
    assert torch.equal(rotary(q, k)[0], reference.rope(q, cos, sin))
    assert "base=500" in repr(rotary)


@pytest.mark.parametrize(
    ("shape", "seq_dim"),
    [((2, 3, 9), -2), ((2, 9, 3), -3), ((9, 2, 3), 0), ((9, 3), 0), ((2, 9), 1), ((9,), 0)],
)
def test_every_layout(shape: tuple[int, ...], seq_dim: int) -> None:
    for x, y in zip(pair := qk(*shape), RotaryEmbedding(WIDTH)(*pair, seq_dim=seq_dim)):
        assert torch.equal(y, expected(x, seq_dim=seq_dim))


def test_lengths_and_head_counts_of_q_and_k_may_differ() -> None:
    q, k = torch.randn(2, 8, 3, WIDTH), torch.randn(2, 2, 30, WIDTH)
    rotated_q, rotated_k = RotaryEmbedding(WIDTH, max_position=4)(q, k)
    assert torch.equal(rotated_q, expected(q))
    assert torch.equal(rotated_k, expected(k))


def test_table_grows_and_is_remembered() -> None:
    rotary = RotaryEmbedding(WIDTH, max_position=8)
    check(rotary, 8)
    assert rotary.max_position == 8
    first = rotary.tables(8)[0].data_ptr()
    check(rotary, 3)
    assert rotary.tables(8)[0].data_ptr() == first
    check(rotary, 9)
    assert rotary.max_position == 16
    check(rotary, 100)
    check(rotary, 1, torch.tensor([[99], [99]]))


def test_ids_reach_up_to_max_position() -> None:
    rotary = RotaryEmbedding(WIDTH, max_position=64)
    check(rotary, 4, torch.tensor([[0, 63, -1, 63], [5, 5, 5, 5]], dtype=torch.int32))
    for wrong in (64, -2):
        with pytest.raises(RuntimeError, match=rf"position_ids.*{wrong}"):
            rotary(*qk(2, 3, 4), torch.tensor([0, 1, wrong, 3]))
    assert rotary.max_position == 64


def test_far_positions_are_computed_from_the_ids() -> None:
    rotary = RotaryEmbedding(WIDTH)
    positions = [2**31 - 1, 2**31 - 2, 1_000_003, 0]
    q, k = qk(1, 1, 4)
    y = rotary(q, k, torch.tensor([positions]), exact=True)[0].double()
    for s, position in enumerate(positions):
        for i in range(WIDTH // 2):
            # Python's own cos and sin reduce any float64 angle exactly.
            angle = position * 10000.0 ** (-2 * i / WIDTH)
            x1, x2 = q[0, 0, s, 2 * i : 2 * i + 2].tolist()
            c, sine = math.cos(angle), math.sin(angle)
            assert abs(y[0, 0, s, 2 * i] - (x1 * c - x2 * sine)) < 5e-6
            assert abs(y[0, 0, s, 2 * i + 1] - (x1 * sine + x2 * c)) < 5e-6
    # A common shift changes no score (Eq. 11), however far.
    far = rotary(q, k, torch.tensor([2**31 - 4, 2**31 - 3, 2**31 - 2, 2**31 - 1]), exact=True)
    near = rotary(q, k, torch.arange(4), exact=True)
    scores = [a @ b.transpose(-1, -2) for a, b in (far, near)]
    torch.testing.assert_close(*scores, atol=2e-5, rtol=1e-5)
    assert rotary.max_position <= 4


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_computed_rows_equal_the_table(dtype: torch.dtype) -> None:
    for shape in ((11,), (1, 11), (2, 11)):
        ids = torch.randint(-1, 4000, shape, dtype=dtype)
        check(RotaryEmbedding(WIDTH), 11, ids, exact=True)
    ids = torch.randint(0, 4000, (11, 2)).t()
    check(RotaryEmbedding(WIDTH), 11, ids, exact=True)


@pytest.mark.parametrize("exact", [False, True])
def test_minus_one_is_the_identity_bit_for_bit_and_minus_two_an_error(exact: bool) -> None:
    rotary = RotaryEmbedding(WIDTH, max_position=8)
    odd = torch.tensor([math.inf, -0.0, math.nan, -math.inf] * 4).expand(2, 3, 4, WIDTH)
    y, _ = rotary(odd, odd, torch.tensor([3, -1, -1, 0]), exact=exact)
    assert torch.equal(y[:, :, 1].view(torch.int32), odd[:, :, 1].contiguous().view(torch.int32))
    with pytest.raises(RuntimeError, match=r"position_ids.*-2"):
        rotary(*qk(2, 3, 4), torch.tensor([0, -2, 1, 3]), exact=exact)


def test_tables_of_positions() -> None:
    rotary = RotaryEmbedding(WIDTH)
    positions = torch.tensor([[3, -1, 2], [0, 700, 1]])
    cos, sin = rotary.tables(positions)
    assert cos.shape == (2, 3, WIDTH // 2)
    assert torch.equal(cos[1], reference.tables(positions[1], WIDTH)[0])
    assert torch.equal(cos[0, 1], torch.ones(WIDTH // 2))
    assert torch.equal(sin[0, 1], torch.zeros(WIDTH // 2))
    times = torch.tensor([0.5, 2.25], dtype=torch.float64, requires_grad=True)
    assert rotary.tables(times)[0].requires_grad
    assert torch.equal(rotary.tables(times)[1], reference.tables(times, WIDTH)[1])


@pytest.mark.parametrize("ids", [None, torch.tensor([[0, 5, -1], [2, 2, 1]])])
@pytest.mark.parametrize("exact", [False, True])
def test_packed_projection_is_rotated_in_place(ids: torch.Tensor | None, exact: bool) -> None:
    rotary = RotaryEmbedding(WIDTH, max_position=8)
    packed = torch.randn(2, 3, 3, 4, WIDTH)
    wanted = expected(packed, ids, seq_dim=1, heads=8)
    result = rotary.rotate_packed_(work := packed.clone(), ids, exact=exact)
    assert result.data_ptr() == work.data_ptr()
    assert torch.equal(work, wanted)
    assert torch.equal(work[:, :, 2], packed[:, :, 2])
    everything = rotary.rotate_packed_(packed.clone(), ids, heads=12, exact=exact)
    assert torch.equal(everything, expected(packed, ids, seq_dim=1))


def test_packed_projection_with_grouped_heads_and_gradients() -> None:
    rotary = RotaryEmbedding(WIDTH)
    x = torch.randn(2, 5, 8, WIDTH, requires_grad=True)
    y = rotary.rotate_packed_(x * 1, heads=6)
    assert torch.equal(y, expected(x, seq_dim=1, heads=6))
    y.backward(gradient := torch.randn_like(y))
    cos, sin = reference.tables(5, WIDTH)
    options = {"interleaved": True, "seq_dim": 1, "heads": 6, "conj": True}
    assert torch.equal(x.grad, reference.rope(gradient, cos, sin, **options))
    with pytest.raises(ValueError, match="heads must be given"):
        rotary.rotate_packed_(torch.randn(2, 5, 8, WIDTH))


def test_rows_looked_up_once_serve_many_layers() -> None:
    rotary = RotaryEmbedding(WIDTH)
    ids = torch.tensor([[0, 4000, -1], [2, 2, 1]])
    rows = rotary.lookup(3, ids, device=torch.device("cpu"), exact=True)
    packed = torch.randn(2, 3, 3, 4, WIDTH)
    for _ in range(2):
        wanted = expected(packed, ids, seq_dim=1, heads=8)
        assert torch.equal(rotary.rotate_packed_(packed, rows), wanted)
        q, k = qk(2, 4, 3)
        assert torch.equal(rotary(q, k, rows)[1], expected(k, ids))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head_dim": 7}, "head_dim must be even"),
        ({"head_dim": 0}, "head_dim must be even"),
        ({"head_dim": 8, "base": 0.0}, "base and factor must be positive"),
        ({"head_dim": 8, "max_position": -1}, "max_position must not be negative"),
        ({"head_dim": 8, "dtype": torch.bfloat16}, "dtype of the tables must be"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RotaryEmbedding(**arguments)
