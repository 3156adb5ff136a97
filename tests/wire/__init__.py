"""What a release put on a wire or on a disk stays: later releases add to it, and take nothing away.

`collecting` reads all of it from the code as it stands: one function a kind, each an item's name with what is promised
of it. A folder such as `0.1.0` beside this file holds what that release promised, a file a kind, and `test_wire`
compares: an item that is gone or has changed fails by its name; a new one is nobody's loss.

A new release writes its own folder, which then counts beside the older ones:

    .venv/bin/python -m tests.wire 0.2.0

An item that is to go or to change in spite of all is deleted from the folders, or changed there, in the commit that
does it, which says why and what those who use it have to do.
"""
