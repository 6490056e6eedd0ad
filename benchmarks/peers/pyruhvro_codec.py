"""pyruhvro: Avro records to an Arrow batch and back, in Rust; one thread, as the others."""

import json
import pickle
import sys
import time
from pathlib import Path

from pyruhvro import deserialize_array, serialize_record_batch

HEAD_BYTES = 5

messages, schema, out = Path(sys.argv[1]), Path(sys.argv[2]).read_text(), Path(sys.argv[3])
# Written by the benchmark itself a moment ago.
batches: list[list[bytes]] = pickle.loads(messages.read_bytes())
head = batches[0][0][:HEAD_BYTES]

began = time.perf_counter()
tables = [deserialize_array([value[HEAD_BYTES:] for value in batch], schema) for batch in batches]
decode_s = time.perf_counter() - began

began = time.perf_counter()
written = [
    [head + value for array in serialize_record_batch(table, schema, 1) for value in array.to_pylist()]
    for table in tables
]
encode_s = time.perf_counter() - began
out.write_bytes(pickle.dumps(written))
rows = sum(len(batch) for batch in batches)
print(json.dumps({"decode": rows / decode_s, "encode": rows / encode_s}))
