"""Makes the parts of a serving process from the settings; `gateway.app` puts them together."""
