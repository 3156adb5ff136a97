"""Which agents are in force: those of the config, else the one that was found on this machine."""
