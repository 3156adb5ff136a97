"""What clients read and change, except runs: agents, tokens, sessions, schedules, deliveries, permissions, usage."""
