"""Numbered SQL files. One that has been released is never edited: add the next number."""
