"""Services that work without being asked, while this process leads: the scheduler, the outbox, housekeeping."""
