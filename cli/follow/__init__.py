"""Watching a run in the terminal: its text as it comes, and its permission requests."""
