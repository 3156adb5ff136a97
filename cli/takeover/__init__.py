"""Reads what other systems have stored, so that it can be imported."""
