"""Newer versions: `status` is the file that says which are known, `versions` compares them."""
