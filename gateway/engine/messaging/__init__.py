"""How channels and webhook endpoints hand in work, and how replies reach a chat."""
