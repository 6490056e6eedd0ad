"""XML files as blocks of columns: a root named as the content, one child a record.

A record's fields are attributes or child elements. Guarantee: no document type, entity or outside resource is
ever used; memory follows the block, not the file. A child that is no record, text between records, or a
record that says a field twice is a defect of that record alone. A document that stops being well-formed ends
with a DeliveryError that says where; the records of the blocks before it have been handed on by then.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import cast

import polars as pl
from lxml import etree

from infra.errors import DeliveryError
from stream_jobs.ingest.blocks import BLOCK_BYTES, Block, ByteStream, Limits, cut, quoted
from stream_jobs.ingest.contents import Content
from stream_jobs.ingest.xml_alike import Surroundings, shape_of, surroundings_of

PROLOG_PIECE_BYTES = 4_096
PROLOG_BYTES_MAX = 2**20


def read_xml(stream: ByteStream, content: Content, limits: Limits) -> Iterator[Block]:
    """Read an XML file.

    Raises:
        DeliveryError: The file is not well-formed, has a document type, another root than the content's name,
            or a record beyond the limit of size.
    """
    tag, begun = _prolog(stream)
    name = etree.QName(tag).localname
    if name != content.name:
        raise DeliveryError(f"expected the root element <{content.name}>; found <{name}>")
    taker = _Taker(content, etree.QName(tag).namespace, limits)
    around = surroundings_of(begun, content.name)
    if around is None:
        yield from _streamed(stream, tag, begun, b"", _NOTHING_PASSED, taker)
        return
    rest, passed = yield from _pieces(stream, tag, around, begun[len(around.opening) :], taker)
    yield from _streamed(stream, tag, around.opening, rest, passed, taker)


@dataclass(frozen=True, slots=True)
class _Passed:
    """What of a document a parser has not seen.

    Attributes:
        root: Name of the root.
        line: Line of the parser on which that would be.
        lines: Number of line feeds in it.
        columns: How much farther right the rest of that line really stands.
    """

    root: str = ""
    line: int = 0
    lines: int = 0
    columns: int = 0

    def with_records(self, records: bytes) -> "_Passed":
        """That and some records more."""
        feeds = records.count(b"\n")
        # libxml2 counts characters.
        columns = len(records[records.rfind(b"\n") + 1 :].decode(errors="replace"))
        return replace(self, lines=self.lines + feeds, columns=columns + (0 if feeds else self.columns))

    def broken(self, line: int, column: int, message: str) -> DeliveryError:
        """What a parser found broken, with the places as they are in the document."""
        text = re.sub(r",? line \d+, column \d+.*$", "", message, flags=re.DOTALL)
        text = re.sub(r"(\S+) line (\d+)(?= and )", self._moved, text)
        if line == self.line:
            column += self.columns
        return DeliveryError(
            f"line {self.lines + line}, column {column}: expected well-formed XML; found: {text}"
        )

    def _moved(self, tag: re.Match[str]) -> str:
        """A start tag and its line; the root's own stands before all that was passed."""
        return tag[0] if tag[1] == self.root else f"{tag[1]} line {self.lines + int(tag[2])}"


_NOTHING_PASSED = _Passed()


def _pieces(
    stream: ByteStream, tag: str, around: Surroundings, data: bytes, taker: "_Taker"
) -> Generator[Block, None, tuple[bytes, _Passed]]:
    """Read pieces of whole records, each by itself.

    Well-formed pieces make a well-formed whole, so a parser is needed only where records are not all alike.

    Returns:
        What is left of the bytes that were taken when no more such pieces come, and what was passed before it.
    """
    shape = None
    start = len(around.opening) - (around.opening.rfind(b"\n") + 1)
    passed = _Passed(around.closing[2:-1].decode(), around.opening.count(b"\n") + 1)
    size = min(BLOCK_BYTES, taker.limits.record_bytes_max)
    while piece := stream.read(size):
        data += piece
        shape = shape or shape_of(data, taker.element)
        end = data.rfind(shape.end) + len(shape.end) if shape is not None and shape.end in data else 0
        if shape is None or not end:
            break
        records = data[:end]
        columns = shape.columns(records, utf8=around.utf8)
        if columns is not None:
            yield from taker.alike(columns, records, shape.end)
        else:
            parser = _parser(tag)
            try:
                _feed(parser, around.opening + records + around.closing)
                _feed(parser, b"")
            except DeliveryError:
                break
            root = _started(parser)
            yield from taker.blocks(list(root), root.text) if root is not None else ()
        data, passed = data[end:], passed.with_records(records)
    # Where line feeds were passed the parser's line began with the opening, and the real one did not.
    return data, replace(passed, columns=passed.columns - start) if passed.lines else passed


def _streamed(
    stream: ByteStream, tag: str, opening: bytes, rest: bytes, passed: _Passed, taker: "_Taker"
) -> Iterator[Block]:
    """Read a document by one parser.

    Args:
        stream: The bytes behind `opening` and `rest`.
        tag: Tag of the root.
        opening: The document's beginning.
        rest: What follows it here.
        passed: What stands between the two and was read otherwise.
        taker: Takes the fields out of elements.
    """
    limits = taker.limits
    parser = _parser(tag)
    _feed(parser, opening)
    root = _started(parser)
    if root is None:
        raise ValueError("a root element that one parser found is unknown to another")
    since_record, lead, ended = 0, True, False
    while not ended:
        piece = rest or stream.read(min(BLOCK_BYTES, limits.record_bytes_max))
        rest, ended = b"", not piece
        _feed(parser, piece, passed)
        since_record += len(piece)
        # The last child may still be growing, and stays in the tree for the parser.
        records = list(islice(root, max(0, len(root) - (0 if ended else 1))))
        if records or ended:
            yield from taker.blocks(records, root.text if lead else None)
            lead, since_record = False, 0
        elif since_record > limits.record_bytes_max:
            begins = passed.lines + cast("int", (root[-1] if len(root) else root).sourceline)
            raise DeliveryError(
                f"line {begins}: expected records of at most {limits.record_bytes_max} bytes; found a longer one"
            )
        del root[: len(records)]
        # Elements within a record that are named as the root leave events behind.
        while _started(parser) is not None:
            pass


def root_name(stream: ByteStream) -> str:
    """The local name of an XML file's root element.

    Raises:
        DeliveryError: The file's beginning is not well-formed or has a document type.
    """
    return str(etree.QName(_prolog(stream)[0]).localname)


def _parser(tag: str | None) -> etree.XMLPullParser:
    # Without huge_tree libxml2 bounds the length of texts and attributes and the depth of elements.
    return etree.XMLPullParser(
        events=("start",), tag=tag, resolve_entities=False, no_network=True, load_dtd=False,
        dtd_validation=False, huge_tree=False, remove_comments=True, remove_pis=True, recover=False,
    )  # fmt: skip


def _prolog(stream: ByteStream) -> tuple[str, bytes]:
    """The tag of the root element, and the bytes read up to it; a document type is refused.

    The pieces are small: what a document type declares can hardly be used before it is seen.
    """
    parser, begun = _parser(None), b""
    while len(begun) <= PROLOG_BYTES_MAX:
        piece = stream.read(PROLOG_PIECE_BYTES)
        _feed(parser, piece)
        begun += piece
        root = _started(parser)
        if root is not None:
            document = root.getroottree().docinfo
            if document.internalDTD is not None or document.doctype:
                raise DeliveryError(
                    "expected XML without a document type; found <!DOCTYPE …>, which is refused"
                )
            return str(root.tag), begun
    raise DeliveryError(f"expected a root element within the first {PROLOG_BYTES_MAX} bytes; found none")


def _started(parser: etree.XMLPullParser) -> etree._Element | None:
    """The next element that has begun, or None when all that have were looked at."""
    for _, element in parser.read_events():
        if isinstance(element, etree._Element):  # noqa: SLF001  lxml's stubs have no other name for it.
            return element
    return None


def _feed(parser: etree.XMLPullParser, piece: bytes, passed: _Passed = _NOTHING_PASSED) -> None:
    """Hand a piece to the parser, or tell it of the end with an empty one.

    Raises:
        DeliveryError: The document breaks here; the place is told with what the parser has not seen.
    """
    failure: etree.XMLSyntaxError | None = None
    try:
        if piece:
            parser.feed(piece)
        else:
            parser.close()
    except etree.XMLSyntaxError as error:
        failure = error
    # Some breaks, such as an unknown entity, are only noted; libxml2 would go on without the text.
    for noted in parser.feed_error_log:
        if noted.level >= etree.ErrorLevels.ERROR:
            raise passed.broken(noted.line, noted.column, noted.message) from failure
    if failure is not None:
        raise passed.broken(
            failure.lineno or 0, failure.offset or 0, failure.msg or "it ends too early"
        ) from failure


class _Taker:
    """Takes the fields out of elements."""

    def __init__(self, content: Content, namespace: str | None, limits: Limits) -> None:
        self.element = content.element
        self._names = content.field_names
        self._places = {name: place for place, name in enumerate(self._names)}
        self._prefix = f"{{{namespace}}}" if namespace else ""
        self.limits = limits

    def blocks(self, records: Sequence[etree._Element], lead: str | None) -> Iterator[Block]:
        """The records as blocks of about `chunk_rows`; `lead` is the text before the first of them."""
        if _said(lead):
            yield self._block([], lead)
        for first in range(0, len(records), self.limits.chunk_rows):
            yield self._block(records[first : first + self.limits.chunk_rows], None)

    def alike(self, columns: pl.DataFrame, records: bytes, end: bytes) -> Iterator[Block]:
        """Records that were read without a parser, as blocks of about `chunk_rows`.

        Args:
            columns: Their fields and perhaps others.
            records: Their bytes.
            end: What each of them ends with.
        """
        known = columns.select(name for name in columns.columns if name in self._places)
        nothing = pl.Series("defect", [None], dtype=pl.String)

        def originals(first: int, asked: Sequence[int]) -> list[str]:
            texts = records.split(end)
            return [cut((texts[first + row] + end).strip().decode()) for row in asked]

        for first in range(0, columns.height, self.limits.chunk_rows):
            part = known.slice(first, self.limits.chunk_rows)
            yield Block(part, nothing.new_from_index(0, part.height), partial(originals, first))

    def _block(self, records: Sequence[etree._Element], lead: str | None) -> Block:
        rows: list[Sequence[str | None]] = []
        sources: list[etree._Element | str] = []
        defects: dict[int, str] = {}
        names, tag = self._names, self._prefix + self.element
        if lead is not None:
            self._note_stray(lead, rows, sources, defects)
        for record in records:
            if record.tag != tag:
                found = etree.QName(record).localname
                defects[len(rows)] = f"expected the element <{self.element}>, found <{found}>"
                rows.append((None,) * len(names))
            elif len(record):
                row, defect = self._nested(record)
                if defect is not None:
                    defects[len(rows)] = defect
                rows.append(row)
            else:
                rows.append([record.get(name) for name in names])
            sources.append(record)
            if _said(tail := record.tail):
                self._note_stray(tail or "", rows, sources, defects)
        return Block(
            self._columns(rows), _defect_series(defects, len(rows)), lambda asked: _originals(sources, asked)
        )

    def _nested(self, record: etree._Element) -> tuple[Sequence[str | None], str | None]:
        """The fields of a record with child elements, and its defect; nulls beside a defect."""
        row = [record.get(name) for name in self._names]
        nothing = (None,) * len(row)
        for child in record:
            place = self._places.get(str(child.tag).removeprefix(self._prefix))
            if place is None:
                if len(child) and _depth(child) + 2 > self.limits.depth_max:
                    return (
                        nothing,
                        f"expected at most {self.limits.depth_max} levels of elements, found more",
                    )
                continue
            name = self._names[place]
            if len(child):
                inner = etree.QName(child[0]).localname
                return nothing, f"{name}: expected a text or a number, found the element <{inner}>"
            if row[place] is not None:
                return nothing, f"{name}: expected it once, found it twice"
            row[place] = child.text
        return row, None

    def _note_stray(
        self,
        text: str,
        rows: list[Sequence[str | None]],
        sources: list[etree._Element | str],
        defects: dict[int, str],
    ) -> None:
        defects[len(rows)] = f"expected the element <{self.element}>, found the text {quoted(text.strip())}"
        rows.append((None,) * len(self._names))
        sources.append(text.strip())

    def _columns(self, rows: Sequence[Sequence[str | None]]) -> pl.DataFrame:
        values = zip(*rows, strict=True) if rows else [()] * len(self._names)
        return pl.DataFrame(
            [
                pl.Series(name, column, dtype=pl.String)
                for name, column in zip(self._names, values, strict=True)
            ]
        )


def _said(text: str | None) -> bool:
    return text is not None and not text.isspace() and text != ""


def _depth(element: etree._Element) -> int:
    """Levels of elements, `element` itself included; libxml2 has bounded them."""
    depth, level = 0, [element]
    while level:
        depth, level = depth + 1, [inner for item in level for inner in item]
    return depth


def _defect_series(defects: dict[int, str], rows: int) -> pl.Series:
    series = pl.Series("defect", [None] * rows, dtype=pl.String)
    return series.scatter(list(defects), list(defects.values())) if defects else series


def _originals(sources: Sequence[etree._Element | str], asked: Sequence[int]) -> list[str]:
    return [
        cut(
            source if isinstance(source, str) else etree.tostring(source, encoding="unicode", with_tail=False)
        )
        for source in (sources[row] for row in asked)
    ]
