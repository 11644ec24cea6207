"""Holdall beside its peers: what a session costs a request, as ratios paired within one run. Run by `hatch run bench`.

Nothing in here is imported by the packages, and no test asserts a time.
"""
