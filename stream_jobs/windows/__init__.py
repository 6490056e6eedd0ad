"""Windowed sums of what was sold: over the events' own time, final once late sales need not be expected any more."""
