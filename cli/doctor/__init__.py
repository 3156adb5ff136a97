"""What is wrong here and what to do about it: the checks behind `gateway doctor` and `gateway status --deep`."""
