"""What of a text, or of a pair of texts, fits into a given number of tokens.

The idea: a cut depends on two lengths only, so it is decided on numbers before a token moves. What
must stay true: the parts are those that transformers cuts, and a request that cannot be met is
refused in one sentence.
"""

from __future__ import annotations

from typing import NamedTuple

STRATEGIES = ("longest_first", "only_first", "only_second", "do_not_truncate")


class Cut(NamedTuple):
    """The part of the first and of the second text that stands in one row."""

    first: slice
    second: slice


def strategy(truncation: bool | str | None, max_length: int | None, padding: bool | str) -> str:
    """The name in STRATEGIES that `truncation` means; a `max_length` alone asks for a cut, too."""
    if truncation is None:
        alone = max_length is not None and padding in (False, "do_not_pad")
        return "longest_first" if alone else "do_not_truncate"
    name = {True: "longest_first", False: "do_not_truncate"}.get(truncation, truncation)  # type: ignore[arg-type]
    if name not in STRATEGIES:
        raise ValueError(
            f"truncation must be True, False or one of {', '.join(STRATEGIES)}, got {truncation!r}"
        )
    return str(name)


def cuts(
    lengths: tuple[int, int | None],
    room: int,
    *,
    truncation: str,
    stride: int = 0,
    side: str = "right",
    overflow: bool = False,
) -> list[Cut]:
    """The rows that come of texts of these lengths: the first, and with `overflow` the others.

    lengths: tokens of the first and of the second text; None for no second one.
    room: how many of them a row holds.
    stride: tokens that a part shares with the one before.
    side: "right" cuts at the end, "left" at the beginning.

    ValueError where `truncation` names a text that is too short to give up what does not fit, the
    stride is not below the length of a part, or a pair is to overflow on both sides.
    """
    first, second = lengths[0], lengths[1] or 0
    excess = first + second - room
    if excess <= 0:
        return [Cut(slice(first), slice(second))]
    if room == 0:
        return [Cut(slice(0), slice(0))]
    if truncation == "longest_first":
        if overflow and lengths[1] is not None:
            raise ValueError(
                "truncation must be only_first or only_second for a pair with "
                "return_overflowing_tokens, got longest_first"
            )
        kept = _balanced(first, second, room)
    else:
        cut = first if truncation == "only_first" else second
        if cut <= excess:
            raise ValueError(
                f"truncation={truncation!r} must leave something of its text, "
                f"got {excess} tokens to remove from {cut}"
            )
        left = cut - excess
        kept = (left, second) if truncation == "only_first" else (first, left)
    if not overflow:
        return [Cut(_windows(first, kept[0], 0, side)[0], _windows(second, kept[1], 0, side)[0])]
    if kept[0] < first:
        return [Cut(part, slice(second)) for part in _windows(first, kept[0], stride, side)]
    return [Cut(slice(first), part) for part in _windows(second, kept[1], stride, side)]


def _balanced(first: int, second: int, room: int) -> tuple[int, int]:
    """Takes from the longer text until both are equal, then from both."""
    shorter = min(first, second)
    if 2 * shorter <= room:
        return (room - shorter, shorter) if first > second else (shorter, room - shorter)
    # An odd token goes to the longer text; of two equal ones to the second.
    half, rest = divmod(room, 2)
    return (half + rest, half) if first > second else (half, half + rest)


def _windows(total: int, length: int, stride: int, side: str) -> list[slice]:
    """The parts of `length` tokens, in the order of reading from the side that is kept."""
    if length >= total:
        return [slice(total)]
    if length == 0:
        return [slice(0, 0)]
    if stride >= length:
        raise ValueError(
            f"stride must be below the {length} tokens that a part of the text holds, got {stride}"
        )
    step = length - stride
    starts = [0]
    while starts[-1] + length < total:
        starts.append(starts[-1] + step)
    if side == "right":
        return [slice(start, min(start + length, total)) for start in starts]
    return [slice(max(total - start - length, 0), total - start) for start in starts]
