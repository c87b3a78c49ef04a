"""What the command line does that no server needs: the demo, the case runner, the start of a project.

Everything here may print, and may use every other room; no other room but the command line knows this one.
"""
