"""Mutation tests: change one place of the core at random, and see whether a test fails.

`scripts/mutants` draws a sample of such changes with a fixed seed and makes each in a copy of the tree. It runs the
tests that execute the changed lines, and those that start programs, which may execute any line. A change that no test
sees is a survivor: either it changes no behaviour, or a test is missing. The changes come from Cosmic Ray
(https://cosmic-ray.readthedocs.io) and from `operators.py`.
"""
