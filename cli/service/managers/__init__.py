"""One module for each service manager. `cli/service/lookup.py` chooses among them."""
