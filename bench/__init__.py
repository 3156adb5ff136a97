"""Benchmarks: one row a file in `rows/`, each a ratio to something plain on the same machine."""
