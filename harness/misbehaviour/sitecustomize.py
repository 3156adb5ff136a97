"""Makes serving processes of a test misbehave: runs what the file named by MOONGATE_TEST_FAULT says.

Only tests put this directory on a gateway's PYTHONPATH; the product knows nothing of it.
"""

import os
import sys

_file = os.environ.get("MOONGATE_TEST_FAULT", "")
if "gateway.serve" in sys.orig_argv and os.path.exists(_file):
    with open(_file, encoding="utf-8") as _source:
        exec(compile(_source.read(), _file, "exec"))
