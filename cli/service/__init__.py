"""The login service: what its unit says, how it is installed, and why a start of it failed."""
