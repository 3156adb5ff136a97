"""From a claimed run to its end: claiming, one attempt, what it records, and the rescue of lost runs."""
