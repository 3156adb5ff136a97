"""Backups: everything of an installation in one file, and back from there into a state directory.

`writing` makes a backup, `verifying` reads it through, `restoring` puts it in place. `manifest` is the format.
"""
