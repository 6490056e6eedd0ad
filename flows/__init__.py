"""Prefect flows and deployments: thin wrappers around `ml` and `lake`."""
