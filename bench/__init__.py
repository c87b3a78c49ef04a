"""Benchmarks anyone can rerun: `make bench`. See README.md beside this file."""
