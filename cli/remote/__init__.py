"""Talks to the running gateway: the probe, the HTTP client, event streams, and the relay for MCP."""
