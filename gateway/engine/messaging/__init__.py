"""How channels and webhook endpoints submit work, and how replies reach a chat."""
