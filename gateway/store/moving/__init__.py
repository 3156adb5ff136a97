"""Copies a store into one of the other kind, row for row."""
