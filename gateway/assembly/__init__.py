"""Checks the settings, and makes the parts of a serving process from them; `gateway.app` puts them together."""

import gateway.security.trusted_certificates  # noqa: F401 before aiohttp, which would read them at once
