"""Benchmarks: every side of a comparison timed in turn on the same work; see README.md here."""
