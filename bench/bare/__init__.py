"""The programs that the gateway is compared with: minimal ones that do the same on the wire."""
