"""Tests of `tools.first_steps`: it does what a page says. That the tutorials are right, `hatch run dist:try` shows."""

from pathlib import Path

import pytest

from tools.first_steps import follow

PAGE = """
Saved as `app.py`:

```python
KEY = "<the output of: python -c 'print(6 * 7)'>"
```

```python
# manage.py
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from app import KEY

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        n = int(self.headers.get("Cookie", "n=0").partition("=")[2]) + {step}
        assert KEY == "42"
        self.send_response(200)
        self.send_header("Set-Cookie", f"n={{n}}; Secure")
        self.end_headers()
        self.wfile.write(b"visit %d" % n)

HTTPServer(("127.0.0.1", int(sys.argv[-1].partition(":")[2])), Handler).serve_forever()
```

```sh
python -c "import sys; assert sys.prefix != sys.base_prefix"
python manage.py runserver
```
"""


def test_a_page_that_leads_to_a_session(tmp_path: Path) -> None:
    """Files are saved, commands run in the environment, the key is made, and a session that counts is enough."""
    follow(PAGE.format(step=1), tmp_path)
    assert (tmp_path / "app.py").read_text().strip() == 'KEY = "42"'


def test_a_page_that_does_not(tmp_path: Path) -> None:
    """A session that does not count fails."""
    with pytest.raises(AssertionError, match="visit 2"):
        follow(PAGE.format(step=2), tmp_path)


def test_a_page_without_a_server(tmp_path: Path) -> None:
    """A page that starts nothing fails."""
    with pytest.raises(AssertionError, match="starts no server"):
        follow(PAGE.format(step=1).partition("```sh")[0], tmp_path)
