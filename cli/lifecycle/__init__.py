"""Starts and stops the gateway as a background process."""
