"""JSON as it comes from other programs, and as it is written with large files in it."""
