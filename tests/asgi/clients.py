"""Starlette's test client, for the tests of Starlette and FastAPI.

Where only httpx is installed, recent versions of Starlette ask on import for its successor: that alone is let pass.
"""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient` is deprecated")
    from starlette.testclient import TestClient as TestClient
    from starlette.testclient import WebSocketDenialResponse as WebSocketDenialResponse
