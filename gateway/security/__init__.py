"""Secrets and signatures: the token file, the sources of a secret, and the signing of webhooks."""
