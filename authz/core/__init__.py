"""The rules: what a request is, what is asked of Cedar, and what may leave a door.

Standard library only; no I/O, no event loop, no clock and no logging, so that every rule
can be tested as a plain function.
"""
