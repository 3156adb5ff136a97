"""What a serving process does as a member of a fleet."""
