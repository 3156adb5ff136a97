"""Operating system processes: children with an owner, who a process is, orphans, and temporary directories."""
