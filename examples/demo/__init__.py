"""The demo: one small page on which a session can be watched while it grows, moves, is lost, and ends.

`python examples/demo` starts it; `python examples/demo --tour` walks through the same story without a browser.
"""
