"""The checks of `gateway doctor` and `gateway status --deep`: what is wrong, why, and how to fix it."""
