"""The native API, one noun a file.

To add routes, add a module with an attribute `ROUTES`:

    ROUTES = Routes("parrots")

    @ROUTES.add("GET", "/api/parrots", scope=Scope.READ, answer=Parrots)
    async def list_parrots(call: Call[Nothing, Nothing]) -> Parrots:
        \"\"\"List the parrots.\"\"\"
        return Parrots(["Polly"])

The types given there validate the request and make its page in the OpenAPI document.
"""
