"""From a delivered file to records in Kafka, exactly once and resumable."""
