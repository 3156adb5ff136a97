"""The client for version 2 of opencode's API; it translates what the server says to the form of version 1."""
