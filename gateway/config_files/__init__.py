"""The files that the settings come from: how they are read, and what is said about a wrong one."""
