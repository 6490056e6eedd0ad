"""The same work as validate and join do, in other stream processors, as their own documentation advises.

Each file is a program that runs in a virtual environment of its own, with what stands in the `.txt` file of its
name; `benchmarks.contestants` starts it.
"""
