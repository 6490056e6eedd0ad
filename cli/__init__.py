"""The `headrace` command, the one composition root."""
