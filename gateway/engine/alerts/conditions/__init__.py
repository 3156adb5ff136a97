"""The conditions: one module each, with `CONDITION`."""
