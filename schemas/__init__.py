"""The contracts: Avro records, topics, codecs, the schema registry, the columns of the lake."""
