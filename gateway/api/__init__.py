"""The HTTP API. It reaches runs only through the engine."""
