"""The front doors: HTTP in, HTTP out. They reach runs only through the engine."""
