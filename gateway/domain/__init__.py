"""The concepts of the gateway as plain data and pure functions: no I/O, no event loop."""
