"""The settings, one module for each group of them: name, type, default, help, environment variables.

A new group is one module here and one line in `gateway.config.Settings`.
"""
