"""Services that nobody has to ask: the scheduler, the outbox, housekeeping, and the watch over a peer process."""
