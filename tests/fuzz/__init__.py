"""Damaged files and messages for the readers of files and the decoder of messages, by the million."""
