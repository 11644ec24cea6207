"""Sessions that the original gae-sessions made, see `gae_sessions/make.py2`, and browsers that have them. No tests."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdall import run
from holdall_stores import with_old_records
from holdall_stores.gae_sessions import GaeSessions

from tests.core.support import Browser, World

MADE = json.loads((Path(__file__).parent / "gae_sessions" / "cookies.json").read_text())
BY_NAME: dict[str, dict[str, Any]] = {each["name"]: each for each in MADE["sessions"]}
UNTIL = datetime.fromtimestamp(1_800_000_000 + 30 * 86_400, UTC)  # World's clock begins at 1,800,000,000


def a_world(name: str, **options: Any) -> World:
    """Return a world whose browser has a session of the original's."""
    reader = {"cookie_key": MADE["key"], "until": UNTIL, **options}
    moving_in = GaeSessions(**reader)
    world = World(moving_in=moving_in)
    world.drive = lambda flow: run(flow, with_old_records(world.stores, moving_in))  # type: ignore[method-assign]
    world.browser.cookies = dict(BY_NAME[name]["cookies"])
    return world


def write(world: World, browser: Browser | None = None, act: Any = lambda session: session.update(n=1)) -> Any:
    """Handle a request whose application does this, and return what it made of it."""
    exchange = world.open(browser)
    result = act(exchange.session)
    world.headers = world.drive(exchange.commit(status=200, headers=[]))
    (browser or world.browser).receive(world.headers)
    return result
