"""What the commands about backups share."""
