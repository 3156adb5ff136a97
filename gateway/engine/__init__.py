"""Runs, from submission to end. All other code reaches them only through `engine.Engine`."""
