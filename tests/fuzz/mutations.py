"""Bytes damaged as bytes are damaged: bits, spans, numbers and delimiters, chosen by dice."""

import random
from collections.abc import Callable, Sequence

TOKENS = (
    b"\x00", b"\n", b"\r", b'"', b"'", b",", b";", b"\t", b"<", b">", b"</", b"/>", b"&", b"&#0;", b"&x;",
    b"<!DOCTYPE x [", b"<![CDATA[", b"]]>", b"<!--", b"{", b"}", b"[", b"]", b":", b"null", b"true", b"NaN", b"1e999",
    b"-0", b"9" * 400,
    b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\u0000", b"\\ud800", b"PAR1", b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80", b"\x01", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59Z",
)  # fmt: skip
"""What means something to one of the formats."""

Damage = Callable[[bytearray, random.Random], None]


def damaged(data: bytes, dice: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """A copy with one to four damages.

    Args:
        data: Some bytes; may be empty.
        dice: Decides on all of it.
        others: What may be spliced in.
    """
    found = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 4))):
        if others and dice.random() < 0.1:
            other = dice.choice(others)
            at, start = dice.randrange(len(found) + 1), dice.randrange(len(other) + 1)
            found[at : at + dice.randrange(16)] = other[start : start + dice.randrange(64)]
        else:
            dice.choice(_DAMAGES)(found, dice)
    return bytes(found)


def _place(data: bytearray, dice: random.Random) -> int:
    return dice.randrange(len(data)) if data else 0


def _flip(data: bytearray, dice: random.Random) -> None:
    if data:
        data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _replace(data: bytearray, dice: random.Random) -> None:
    if data:
        data[_place(data, dice)] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))


def _cut(data: bytearray, dice: random.Random) -> None:
    at = _place(data, dice)
    del data[at : at + dice.choice((1, 2, 4, 8, 32))]


def _end(data: bytearray, dice: random.Random) -> None:
    del data[_place(data, dice) :]


def _repeat(data: bytearray, dice: random.Random) -> None:
    at = _place(data, dice)
    data[at:at] = data[at : at + dice.choice((1, 4, 16))] * dice.choice((1, 2, 50))


def _token(data: bytearray, dice: random.Random) -> None:
    at = _place(data, dice)
    data[at : at + dice.choice((0, 0, 1, 4))] = dice.choice(TOKENS)


_DAMAGES: tuple[Damage, ...] = (_flip, _replace, _cut, _end, _repeat, _token, _token)
