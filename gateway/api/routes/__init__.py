"""The native API: one noun for each module.

To add routes, add a module with an attribute `ROUTES`:

    ROUTES = Routes("parrots")

    @ROUTES.add("GET", "/api/parrots", scope=Scope.READ, answer=Parrots)
    async def list_parrots(call: Call[Nothing, Nothing]) -> Parrots:
        \"\"\"List the parrots.\"\"\"
        return Parrots(["Polly"])

The types in the declaration validate requests and describe the route in the OpenAPI document.
"""
