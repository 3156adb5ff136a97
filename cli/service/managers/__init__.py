"""One module for each service manager. `cli/service/unit.py` chooses among them."""
