"""The process that may end: does rounds, and tells each before it begins, so that whoever ended it is known."""

import json
import sys
import warnings

from infra.settings import load_settings
from schemas.catalogue import SALES_INPUT
from schemas.codec import Codec
from schemas.registry import Registry
from tests.fuzz.rounds import one_round


def main(seed: int, start: int, end: int) -> None:
    """Do the rounds from `start` up to `end`; a line for each, and one for each failure."""
    warnings.simplefilter("ignore")
    registry = Registry(load_settings())
    codec = Codec(SALES_INPUT, registry)
    for number in range(start, end):
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        for failure in one_round(seed, number, codec):
            told = {
                "kind": failure.kind,
                "target": failure.target,
                "text": failure.text,
                "data": failure.data.hex(),
            }
            sys.stdout.write(json.dumps(told) + "\n")
    registry.close()


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:4]))
