"""What clients read and change besides runs: agents, tokens, sessions, schedules, deliveries, permissions, usage."""
