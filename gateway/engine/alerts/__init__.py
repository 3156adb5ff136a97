"""Alerts: looks for what goes wrong, and tells the receivers that the settings name. Only loaded if there are some.

A new condition is one module in `conditions/` with `CONDITION`, a class as in `condition.Condition`, and its kind in
`gateway.domain.alert.AlertKind`. A new kind of receiver is a sender in `senders.py`.
"""
