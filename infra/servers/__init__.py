"""Apache Kafka and MinIO on one machine without containers, to develop and to test against the real ones."""
