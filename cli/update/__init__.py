"""Updates Moongate in place: the new version is built next to the old one, and the two are exchanged.

`driver` tells the whole story; `journal` records each step of it, and `recovery` goes on after an interruption.
`installation` knows how Moongate was installed, `release` which versions there are, `environment` makes and
exchanges the directories, `trial` starts the new version with a copy of the database, `serving` replaces the gateway
that runs, and `database` decides about the database on the way back.
"""
