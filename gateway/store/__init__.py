"""Truth on disk. `gateway.domain.ports.store.Store` says what a store promises; one package each keeps it."""
