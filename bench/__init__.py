"""Benchmarks: one file per row in `rows/`, each with a ratio to a plain program on the same machine."""
