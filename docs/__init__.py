"""The documents, and what writes those that follow from the code."""
