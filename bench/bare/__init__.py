"""What the gateway is compared with: the plainest program that does the same on the wire."""
