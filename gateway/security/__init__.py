"""Secrets and signatures: the token file, where a secret may come from, and how webhooks are signed."""
