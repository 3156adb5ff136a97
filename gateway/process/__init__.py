"""Operating system processes: recorded children, process identity, orphans, and temporary directories."""
