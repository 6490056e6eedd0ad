"""Cursors: opaque text that says where the next page of a listing begins.

Guarantee: a cursor is bound to the parameters it was made for, so a page never silently continues another
query.
It is a hint about position only and carries no rights.
"""

import base64
import binascii
import zlib

import orjson

from serving.problems import BAD_CURSOR, Problem

CURSOR_CHARS_MAX = 500
"""Longest cursor that is read, characters."""


def _print_of(query: tuple[object, ...]) -> int:
    return zlib.crc32(repr(query).encode())


def encode(query: tuple[object, ...], run_id: str, position: int | str) -> str:
    """A cursor.

    Args:
        query: The parameters that select the rows, without limit and format.
        run_id: Version of the data that `position` counts in; empty when it has none.
        position: Where the next page begins.
    """
    return base64.urlsafe_b64encode(orjson.dumps([_print_of(query), run_id, position])).rstrip(b"=").decode()


def _decode(cursor: str, query: tuple[object, ...]) -> tuple[str, object]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:
        raise Problem(BAD_CURSOR, "The cursor cannot be read.") from error
    if not (isinstance(found, list) and len(found) == 3 and isinstance(found[1], str)):
        raise Problem(BAD_CURSOR, "The cursor was not made by this service.")
    if found[0] != _print_of(query):
        raise Problem(BAD_CURSOR, "The cursor was made for other parameters than those of this request.")
    return found[1], found[2]


def decode_number(cursor: str, query: tuple[object, ...]) -> tuple[str, int]:
    """The data version and the number that a cursor holds.

    Raises:
        Problem: 400; the cursor is damaged or was made for other parameters.
    """
    run_id, position = _decode(cursor, query)
    if not isinstance(position, int) or isinstance(position, bool) or position < 0:
        raise Problem(BAD_CURSOR, "The cursor names no position.")
    return run_id, position


def decode_text(cursor: str, query: tuple[object, ...]) -> str:
    """The text that a cursor holds, such as the last id of the page before.

    Raises:
        Problem: 400; the cursor is damaged or was made for other parameters.
    """
    _, position = _decode(cursor, query)
    if not isinstance(position, str):
        raise Problem(BAD_CURSOR, "The cursor names no id.")
    return position
