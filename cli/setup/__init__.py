"""The guide through the first set-up: `gateway setup`. One module for each step."""
