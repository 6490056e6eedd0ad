"""XML records that are all written alike, read without a parser: programs write XML, and always in one way.

The first records of a file give its shape: the bytes that stand before, between and behind the values. In a
piece whose records all have that shape each of these strings is exchanged for a control character, which no
XML holds, and Polars reads what is left as a table.

Guarantee: `Shape.columns` answers only where a parser would find the same values. Nothing but values is left
between the characters, these follow each other as they must, and no value holds a character that XML would
read as anything but itself. Of any other piece it says None, and a parser must read it.
"""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

_SPACES = b" \t\r\n"
_CONTROLS = bytes(code for code in range(1, 32) if code not in _SPACES)
"""Characters that stand for the bytes around values; no XML has them."""
_SEPARATOR = "\x1f"
_NO_CHARACTERS = ("\ufffe", "\uffff")

_NAME = rb"[A-Za-z_][\w.-]*+"
# Atomic and possessive: what matched once is not tried in another way, so that no file takes long.
_OPENING = re.compile(
    rb"(?:\xef\xbb\xbf)?(?>\s+|<\?.*?\?>|<!--.*?-->)*+<(" + _NAME + rb")(?=[\s>])"
    rb"(?>[^<>\"'/]++|\"[^\"<]*+\"|'[^'<]*+')*+>",
    re.DOTALL,
)
_ENCODING = re.compile(rb"<\?xml\s[^>]*?\bencoding\s*=\s*[\"']([\w.-]+)[\"']")
_EXTENDS_ASCII = re.compile(rb"us-ascii|utf-8|iso-8859-\d+|windows-125\d", re.IGNORECASE)
_OF_ATTRIBUTES = re.compile(
    rb"\s*+<(" + _NAME + rb")((?>\s++" + _NAME + rb"=\"[^\"<&]*+\")++)\s*+(?:/>|></\1>)"
)
_ATTRIBUTE = re.compile(rb"(" + _NAME + rb")=\"([^\"<&]*+)\"")
_OF_ELEMENTS = re.compile(rb"\s*+<(" + _NAME + rb")>((?>\s*+<(" + _NAME + rb")>[^<&]*+</\3>)++)\s*+</\1>")
_ELEMENT = re.compile(rb"<(" + _NAME + rb")>([^<&]*+)</\1>")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around the records of a document.

    Attributes:
        opening: From the first byte to the end of the root's start tag.
        closing: The root's end tag.
        utf8: Whether bytes beyond ASCII are UTF-8.
    """

    opening: bytes
    closing: bytes
    utf8: bool


def surroundings_of(begun: bytes, root: str) -> Surroundings | None:
    """What stands around the records of a document that begins so; None when it cannot be told.

    Args:
        begun: The document's beginning, well-formed, at least to the end of the root's start tag.
        root: Name of the root, without a prefix.
    """
    found = _OPENING.match(begun)
    if found is None or found[1] != root.encode():
        return None
    declared = _ENCODING.search(found[0])
    encoding = declared[1] if declared else b"utf-8"
    if not _EXTENDS_ASCII.fullmatch(encoding):
        return None
    return Surroundings(found[0], b"</" + found[1] + b">", encoding.lower() == b"utf-8")


@dataclass(frozen=True, slots=True)
class Shape:
    """How each record of a document is written.

    Attributes:
        names: Its fields, in order.
        around: The bytes around the values: before the first, between each two, and behind the last.
        space: White space before a record.
        forbidden: What no value holds that XML reads as itself.
    """

    names: tuple[str, ...]
    around: tuple[bytes, ...]
    space: bytes
    forbidden: bytes

    @property
    def end(self) -> bytes:
        """What a record ends with."""
        return self.around[-1]

    def columns(self, records: bytes, *, utf8: bool) -> pl.DataFrame | None:
        """The values of whole records, as text; one that is empty is null.

        Args:
            records: Records, with white space before and between them.
            utf8: Whether bytes beyond ASCII are UTF-8; there must be none if not.

        Returns:
            Shape `(n_records, n_names)`; None when a parser must read them.
        """
        if not _is_text(records, utf8=utf8):
            return None
        data = self.space + records.strip(_SPACES)
        codes = _CONTROLS[: len(self.around)]
        first, *others = self.around
        for code, string in zip(codes, (self.space + first, *others), strict=True):
            data = data.replace(string, bytes([code]))
        if any(bytes([character]) in data for character in self.forbidden):
            return None
        view = np.frombuffer(data, dtype=np.uint8)
        found = np.flatnonzero(view < ord(" "))
        rows, rest = divmod(len(found), len(codes))
        if rest:
            return None
        places = found.reshape(rows, len(codes))
        if (view[places] != np.frombuffer(codes, dtype=np.uint8)).any():
            return None
        # Nothing stands before, between or behind the records.
        ends = np.concatenate([[-1], places[:, -1]])
        if (ends[:-1] + 1 != places[:, 0]).any() or ends[-1] != len(data) - 1:
            return None
        # The first character of a record goes, the last ends its line.
        to = _SEPARATOR.encode() * (len(codes) - 2) + b"\n"
        table = data.translate(bytes.maketrans(codes[1:], to), codes[:1])
        frame = pl.read_csv(
            table, has_header=False, new_columns=list(self.names), separator=_SEPARATOR, quote_char=None,
            infer_schema=False,
        )  # fmt: skip
        return frame if frame.height == rows else None


def shape_of(data: bytes, element: str) -> Shape | None:
    """How the first two records are written; None when they are not of a shape that can be read so.

    Args:
        data: What stands behind the root's start tag.
        element: Name of a record's element.
    """
    for record, value, forbidden in (
        (_OF_ATTRIBUTES, _ATTRIBUTE, b'<&"'),
        (_OF_ELEMENTS, _ELEMENT, b"<&>"),
    ):
        first = record.match(data)
        second = record.match(data, first.end()) if first else None
        if first is None or second is None or first[1] != element.encode():
            continue
        start = data.index(b"<", first.start())
        names, around, place = [], [], start
        for found in value.finditer(data, first.start(2), first.end(2)):
            names.append(found[1].decode())
            around.append(data[place : found.start(2)])
            place = found.end(2)
        around.append(data[place : first.end()])
        space = data[first.end() : data.index(b"<", first.end())]
        # Twice the same field is a defect; and a record may not begin a namespace of its own.
        if len(set(names)) == len(names) < len(_CONTROLS) and "xmlns" not in names:
            return Shape(tuple(names), tuple(around), space, forbidden)
    return None


def _is_text(data: bytes, *, utf8: bool) -> bool:
    """Whether a parser takes these bytes for characters of XML, and as we do."""
    if len(data.translate(None, _CONTROLS + b"\0")) != len(data):
        return False
    if data.isascii():
        return True
    try:
        text = data.decode() if utf8 else ""
    except UnicodeDecodeError:
        return False
    return utf8 and not any(character in text for character in _NO_CHARACTERS)
