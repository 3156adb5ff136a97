"""Follows a run in the terminal: shows its text as it arrives, and answers its permission requests."""
