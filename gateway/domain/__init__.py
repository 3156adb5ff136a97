"""What the gateway is about, as pure data and pure functions: no I/O, no event loop."""
