"""The APIs of other systems, translated here: one module or package for each system.

To add one, add a module with an attribute `ROUTES`, as in `gateway.api.routes`, made with a `Dialect`:

    ROUTES = Routes("lantern", dialect=Dialect(error=Complaint, complain=lambda error: Complaint(str(error))))

Bodies are structs that allow unknown fields, and queries are `Unheeded` or allow them too, because clients of other
systems send fields that we do not know. The names of handlers and structs are unique over all modules.
"""
