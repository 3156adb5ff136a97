"""Truth on disk. `gateway.domain.ports.Store` says what a store promises; one package each keeps it."""
