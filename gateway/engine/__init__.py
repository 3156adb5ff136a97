"""Runs, from their acceptance to their end. `engine.Engine` is the only door to them."""
