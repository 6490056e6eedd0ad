"""Rules as data: what makes a record invalid, and how the customer is told.

Pure. Guarantee: every rule that a record breaks is reported, in the rules' order, and the verdict on a record
depends on its own columns only. A null in a rule's expression means that the rule does not apply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter

import numpy as np
import numpy.typing as npt
import polars as pl

UNDECODABLE = "undecodable"
"""Code of a message whose bytes are not what the schema says; no rule can look at its columns."""

REQUIRED_OF_A_SALE = ("sale_id", "location_id", "product_id", "sold_at", "quantity")
REQUIRED_OF_A_VOID = ("sale_id", "location_id")

_NOTHING = "nothing"
_TEXTS = pl.List(pl.String)


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One reason to refuse a record.

    Attributes:
        code: Its stable name, such as `unknown_location`.
        when: Boolean expression over the record's columns: true where the record breaks the rule.
        message: A sentence that says what was expected and what was found; `{name}` stands for the column
            `name`, or for the expression of that name in `found`.
        found: Expressions for names in the message that are not columns.
    """

    code: str
    when: pl.Expr
    message: str
    found: Mapping[str, pl.Expr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What `judge` found.

    Attributes:
        valid: Boolean mask, shape `(n_rows,)`.
        codes: List of strings for each invalid row, in the order of the rows; shape `(n_invalid,)`.
        messages: One sentence for each code; same shapes as `codes`.
    """

    valid: npt.NDArray[np.bool_]
    codes: pl.Series
    messages: pl.Series


def missing_fields(required: Sequence[str]) -> pl.Expr:
    """The names of the required columns that are null, joined by commas; null where none is."""
    names = [pl.when(pl.col(name).is_null()).then(pl.lit(name)) for name in required]
    listed = pl.concat_str(names, separator=", ", ignore_nulls=True)
    return pl.when(listed != "").then(listed)


def any_missing(required: Sequence[str]) -> pl.Expr:
    """True where one of the required columns is null."""
    return pl.any_horizontal([pl.col(name).is_null() for name in required])


_SOLD = ~pl.col("voided")
_READABLE = pl.col("defect").is_null()

SALES_RULES: tuple[Rule, ...] = (
    Rule("unreadable_record", ~_READABLE, "The record could not be read as delivered: {defect}."),
    # A field that could not be read is null as well; the defect has already said so.
    Rule(
        "missing_field",
        _READABLE & (any_missing(REQUIRED_OF_A_VOID) | (_SOLD & any_missing(REQUIRED_OF_A_SALE))),
        "Expected {required}; missing: {missing}.",
        {
            "required": pl.when(_SOLD)
            .then(pl.lit(", ".join(REQUIRED_OF_A_SALE)))
            .otherwise(pl.lit(", ".join(REQUIRED_OF_A_VOID))),
            "missing": pl.when(_SOLD)
            .then(missing_fields(REQUIRED_OF_A_SALE))
            .otherwise(missing_fields(REQUIRED_OF_A_VOID)),
        },
    ),
    Rule(
        "unknown_location",
        pl.col("location_id").is_not_null() & ~pl.col("location_known"),
        "Expected a location of a delivery accepted before delivery {delivery_id}; found {location_id}, "
        "which is in none.",
    ),
    Rule(
        "unknown_product",
        _SOLD & pl.col("product_id").is_not_null() & ~pl.col("product_known"),
        "Expected a product of a delivery accepted before delivery {delivery_id}; found {product_id}, "
        "which is in none.",
    ),
    Rule(
        "negative_quantity",
        _SOLD & (pl.col("quantity") < 0),
        "Expected a quantity of at least 0; found {quantity}.",
    ),
    Rule(
        "not_finite",
        _SOLD
        & (~pl.col("quantity").is_finite() | (~pl.col("unit_price").is_finite()).fill_null(value=False)),
        "Expected finite numbers; found quantity {quantity} and unit_price {unit_price}.",
    ),
    Rule(
        "bad_price",
        _SOLD & (pl.col("unit_price") < 0),
        "Expected a unit_price of at least 0; found {unit_price}.",
    ),
    Rule(
        "sold_in_future",
        _SOLD & (pl.col("sold_at") > pl.col("received_at") + pl.duration(days=1)),
        "Expected a sale before the delivery, which came at {received_at} (a day is allowed for clocks); "
        "found sold_at {sold_at}.",
    ),
    Rule(
        "sold_before_opening",
        _SOLD & (pl.col("sold_on") < pl.col("opened_on")),
        "Expected a sale on or after {opened_on}, the first day of location {location_id}; "
        "found {sold_on}, local.",
    ),
    Rule(
        "sold_after_closing",
        _SOLD & (pl.col("sold_on") >= pl.col("closed_on")),
        "Expected a sale before {closed_on}, the first day without business of location {location_id}; "
        "found {sold_on}, local.",
    ),
    Rule(
        "duplicate_sale_id",
        pl.col("repeated"),
        "Expected each sale_id once in a delivery; found {sale_id} again.",
    ),
)
"""The rules of sales. Besides the Sale's own columns they look at `location_known` and `product_known`
(booleans), and `sold_on`, `opened_on` and `closed_on` (local dates, null where unknown)."""


def judge(frame: pl.DataFrame, rules: Sequence[Rule]) -> Verdicts:
    """Judge records by rules.

    Messages are worked out for invalid rows only; where all rows are valid the cost is one boolean
    expression.

    Args:
        frame: Records as columns, shape `(n_rows, …)`, with every column that the rules name.
        rules: The rules; their order is the order of the codes.

    Raises:
        polars.exceptions.ColumnNotFoundError: A rule names a column that the frame lacks.
    """
    nothing = pl.Series([], dtype=_TEXTS)
    if not rules or frame.is_empty():
        return Verdicts(np.ones(frame.height, dtype=np.bool_), nothing, nothing)
    broken = [rule.when.fill_null(value=False) for rule in rules]
    invalid = frame.select(broken=pl.any_horizontal(broken))["broken"]
    valid = ~invalid.to_numpy()
    if valid.all():
        return Verdicts(valid, nothing, nothing)
    refused = frame.filter(invalid)
    hits = refused.select(expression.alias(str(number)) for number, expression in enumerate(broken))
    codes: list[pl.Expr] = []
    messages: list[pl.Series] = []
    for number, rule in enumerate(rules):
        if hits[str(number)].any():
            codes.append(pl.when(pl.col(str(number))).then(pl.lit(rule.code)).alias(rule.code))
            messages.append(_sentences(rule, refused, hits[str(number)]))
    told = pl.DataFrame([message.alias(str(number)) for number, message in enumerate(messages)])
    return Verdicts(valid, _listed(hits.select(codes)), _listed(told))


def _listed(columns: pl.DataFrame) -> pl.Series:
    """The non-null strings of each row as a list."""
    return columns.select(listed=pl.concat_list(columns.columns).list.drop_nulls())["listed"]


def _sentences(rule: Rule, refused: pl.DataFrame, hit: pl.Series) -> pl.Series:
    """The rule's message for each row where it hit, null elsewhere; shape `(n_refused,)`."""
    parts: list[pl.Expr] = []
    texts: dict[str, pl.Series] = {}
    for literal, name, _, _ in Formatter().parse(rule.message):
        if literal:
            parts.append(pl.lit(literal))
        if name is not None:
            if name not in texts:
                values = refused.select(rule.found.get(name, pl.col(name)).alias(name))[name]
                texts[name] = _as_text(values)
            parts.append(pl.col(name))
    # No placeholder has a name in parentheses, so the mask can have one.
    sentence = pl.when(pl.col("(hit)")).then(pl.concat_str(parts))
    return pl.DataFrame([hit.alias("(hit)"), *texts.values()]).select(sentence.alias(rule.code))[rule.code]


def _as_text(values: pl.Series) -> pl.Series:
    """Values as a customer reads them; null reads "nothing"."""
    text = (
        values.dt.strftime("%Y-%m-%d %H:%M:%S UTC") if values.dtype == pl.Datetime else values.cast(pl.String)
    )
    return text.fill_null(_NOTHING)
