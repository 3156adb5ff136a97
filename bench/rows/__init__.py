"""The rows. To add one, add a module here with an attribute `ROW`, a `bench.report.Row`."""
