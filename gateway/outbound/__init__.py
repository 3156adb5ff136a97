"""How deliveries leave that are not replies in a channel: one module a kind."""
