"""Talking to the gateway: where it listens, HTTP, server-sent events, and MCP over standard input and output."""
