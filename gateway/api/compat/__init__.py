"""The doors of other systems: their words, translated at the edge. One module a system.

To add one, add a module with an attribute `ROUTES`, as in `gateway.api.routes`, made with a `Dialect`:

    ROUTES = Routes("lantern", dialect=Dialect(error=Complaint, complain=lambda error: Complaint(str(error))))

Bodies are structs that do not forbid unknown fields, and queries `Unheeded` or the like: other
systems' clients send what we do not know. Names of handlers and structs are unique over all modules.
"""
