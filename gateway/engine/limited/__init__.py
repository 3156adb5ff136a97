"""The engine as a caller with a limited token sees it: it reaches only some agents and sessions.

One place enforces that for all routes. `LimitedStore` has only the operations that a limited caller needs, each with a
check; what it does not have is refused. The parts of the engine that read it are made again on top of it, for one
request, and hold nothing of the others; those that are not made again are refused. So a new route, a new part and a
new operation are closed until somebody opens them here.
"""
