"""Sends deliveries that are not replies in a channel: webhooks."""
