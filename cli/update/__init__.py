"""Updates Moongate in place: the new version is built next to the old one, and the two are exchanged.

`driver` tells the whole story; `journal` records each step of it, and `recovery` goes on after an interruption.
`rights` and `locking` say who may begin, and when. `installation` knows how Moongate was installed, `release` which
versions there are, `build` has one made and tried, `environment` makes and exchanges the directories, and
`kept_environment` keeps the one from before. `trial` starts the new version with a copy of the database, and `serving`
replaces the gateway that runs. `way_back` undoes an update that failed, `rollback` one that succeeded; `database`
decides what becomes of the database then.
"""
