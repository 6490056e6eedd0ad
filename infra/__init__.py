"""Settings, errors, clients of Kafka and the object store, and how the real parts start."""
