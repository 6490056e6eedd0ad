"""Notebooks, as Python files with cells; the tests run them."""
