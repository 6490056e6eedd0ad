"""The ceiling of a job that reads a topic: messages read, and thrown away.

python -m benchmarks.consume TOPIC MESSAGES
"""

import json
import sys
import time

from infra.kafka import consumer
from infra.settings import load_settings

WAIT_S_MAX = 60.0


def main() -> None:
    """Read so many messages, and print the rate after the first batch."""
    topic, messages = sys.argv[1], int(sys.argv[2])
    settings = load_settings()
    reader = consumer(settings, f"consume-{time.time_ns()}")
    reader.subscribe([topic])
    first, count, began_s, last_s = 0, 0, 0.0, time.monotonic()
    while count < messages and time.monotonic() < last_s + WAIT_S_MAX:
        found = [
            message for message in reader.consume(settings.stream.batch_rows_max, 0.05) if not message.error()
        ]
        if found:
            last_s = time.monotonic()
            first, began_s = first or len(found), began_s or last_s
            count += len(found)
    reader.close()
    print(json.dumps({"messages": count, "per_s": (count - first) / (last_s - began_s)}))


if __name__ == "__main__":
    main()
