"""The login service: its unit, its manager, its installation, and why a start failed."""
