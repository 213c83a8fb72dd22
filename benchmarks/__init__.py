"""Measurements, as commands: `make bench`. Nothing here is part of the tests."""
