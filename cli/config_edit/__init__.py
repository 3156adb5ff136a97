"""Changes single settings in the config file, and variables in `.env`: for `gateway config set` and `gateway setup`."""
