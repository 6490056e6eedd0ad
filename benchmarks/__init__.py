"""Benchmarks, each a module that prints one JSON object last."""
