"""Rules that a setting names: a Python module, in the installation or in the folder where the job starts.

Guarantee: a rule set that cannot judge a sale is refused before the first sale is read.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from infra.errors import SettingError
from schemas.examples import EXAMPLES
from schemas.records import frame_schema
from stream_jobs.master_tables import MasterTables
from stream_jobs.rules import Rule, judge
from stream_jobs.verdicts import with_master_data

ATTRIBUTE = "RULES"


def load_rules(name: str) -> tuple[Rule, ...]:
    """The rules of a module.

    Args:
        name: `module` (its `RULES`) or `module:ATTRIBUTE`, such as `my_rules` for `my_rules.py` in the folder where
            the job starts.

    Raises:
        SettingError: There is no such module, it holds no rules, or they do not fit a sale.
    """
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise SettingError(
            f"HEADRACE_STREAM__RULES: expected a Python module with a tuple {attribute or ATTRIBUTE} of rules, found "
            f"{name!r}, which cannot be imported from the installation or from {here}: {error}"
        ) from error
    found = getattr(module, attribute or ATTRIBUTE, None)
    if not isinstance(found, Sequence) or not all(isinstance(rule, Rule) for rule in found):
        raise SettingError(
            f"HEADRACE_STREAM__RULES: expected {attribute or ATTRIBUTE} in {module_name} to be a tuple of "
            f"stream_jobs.rules.Rule, found {type(found).__name__}"
        )
    rules = tuple(found)
    _check(rules, name)
    return rules


def _check(rules: Sequence[Rule], name: str) -> None:
    """Judge an example by each rule, and once more with every one of them broken.

    Raises:
        SettingError: A code comes twice, or a rule names a column that there is not.
    """
    codes = [rule.code for rule in rules]
    if twice := sorted({code for code in codes if codes.count(code) > 1}):
        raise SettingError(f"rules {name}: expected each code once, found {', '.join(twice)} more than once")
    sales = pl.DataFrame(EXAMPLES["Sale"], schema=frame_schema("Sale"))
    frame = with_master_data(sales, MasterTables.empty())
    for rule in rules:
        broken = Rule(rule.code, pl.lit(value=True) | rule.when.is_not_null(), rule.message, rule.found)
        try:
            judge(frame, [rule])
            judge(frame, [broken])
        except PolarsError as error:
            raise SettingError(
                f"rules {name}, {rule.code}: expected an expression over the columns {', '.join(frame.columns)}; "
                f"found: {error}"
            ) from error
