"""The always-on jobs: ingest, validate, report, join, and the small runtime they share."""
