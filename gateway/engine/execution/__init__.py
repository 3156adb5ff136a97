"""From the claim of a run to its end: the worker, the executor, the recorder, and the rescue of lost runs."""
