"""Traces of runs and metrics for an OpenTelemetry collector; imported only where `tracing.enabled` is set.

To trace more of a run: make it a span in `spans.py`, from what is stored; name it in the table of `attributes.py`.
"""
