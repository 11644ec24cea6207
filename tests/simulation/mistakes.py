"""Mistakes that session libraries make, each put back into the core for as long as a test wants it.

A mistake is an edit of the source of one or two functions, so that what is tried is the real flow with one rule broken.
Where an edit finds no such source any more, the mistake has to be put in a new place: that is said, and fails the test.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any, NamedTuple
from unittest.mock import patch

from holdall import SessionManager
from holdall.exchange import Exchange
from holdall.principals import Principals
from holdall.tiers import Tiers

from tests.simulation.matrix import Fault, Step


class Edit(NamedTuple):
    """One change of a function's source."""

    owner: type
    function: str
    before: str
    after: str


class Mistake(NamedTuple):
    """A known mistake: what it is, the rule of docs/consistency.md that it breaks, and how it is put back."""

    name: str
    rule: int | None
    """None: what it says of bound sessions."""
    edits: tuple[Edit, ...]
    needs: Fault | Step | None = None
    """The fault without which it does no harm, or the step that it is in; None: much leads to it."""


_REPLACE = "_replace"

MISTAKES = (
    Mistake(
        "a plain delete instead of a marker",
        3,
        (
            Edit(
                Tiers,
                "end",
                "yield Put(self._home, key, self._records.seal(plain, key.encode(), now / 1000), expires, "
                "Expect.ANYTHING)",
                "yield Delete(self._home, key)",
            ),
        ),
    ),
    Mistake(
        "an unconditional put",
        1,
        (Edit(Tiers, _REPLACE, "now / 1000), expires, expect)", "now / 1000), expires, Expect.ANYTHING)"),),
    ),
    Mistake(
        "demotion within a sid",
        4,
        (
            Edit(
                Exchange,
                "_store",
                "        elif base is not None and old is not None and outcome.write in (Write.PROMOTE",
                """\
        elif (
            isinstance(base, Held)
            and old is not None
            and outcome.write is Write.UPDATE
            and self._fits_packed(changes.apply(base.record.values)[0])
        ):
            yield from tiers._try_delete(store_key(old.sid))
            result = changes.apply(base.record.values)[0]
        elif base is not None and old is not None and outcome.write in (Write.PROMOTE""",
            ),
        ),
    ),
    Mistake(
        "one cookie name for both tiers",
        4,
        (
            Edit(
                SessionManager,
                "__init__",
                "self._set_inline = ",
                "self._reference.name = cookie.effective_name\n        self._set_inline = ",
            ),
            Edit(
                SessionManager,
                "__init__",
                "SetCookie(cookie, self._reference.name)",
                "SetCookie(cookie, cookie.effective_name)",
            ),
        ),
    ),
    Mistake(
        "cache before commit",
        4,
        (
            Edit(
                Tiers,
                "update",
                "            result = yield from self._replace(",
                """\
            if isinstance(current, Held):
                yield from self._publish(key, plain, record.expires, current.version, cached, now)
            result = yield from self._replace(""",
            ),
        ),
    ),
    Mistake(
        "refill by set",
        4,
        (Edit(Tiers, "read", "plain, home.expires, expect)", "plain, home.expires, Expect.ANYTHING)"),),
        needs=Step.REFILL,
    ),
    Mistake(
        "no trust window",
        5,
        (Edit(Tiers, "_is_trusted", "        return ", "        return True or "),),
    ),
    Mistake(
        "no read floor",
        6,
        (Edit(Tiers, "read", "entry.stored.revision >= floor", "True"),),
    ),
    Mistake(
        "newer by revision",
        4,
        (
            Edit(
                Tiers,
                "_publish",
                "current.version >= version",
                "current.stored.revision >= unpack(plain).revision",
            ),
            Edit(
                Tiers,
                "read",
                "entry.version == answer.version and entry.stored.revision >= home.revision",
                "entry.stored.revision >= home.revision",
            ),
        ),
        needs=Fault.RESTORE,
    ),
    Mistake(
        "a single write id",
        7,
        (Edit(Tiers, _REPLACE, "if write_id in stored.writes:", "if write_id == stored.writes[-1]:"),),
        needs=Fault.LOST,
    ),
    Mistake(
        "replay on an ended session",
        2,
        (
            Edit(
                Tiers,
                _REPLACE,
                "return _Applied(there.version, plain) if is_mine else _gone(stored)",
                """\
if is_mine:
                    return _Applied(there.version, plain)
                expect = there.version
                put = Put(self._home, key, put.value, expires, expect)
                continue""",
            ),
        ),
    ),
    Mistake(
        "the old id ended before the new one is inserted",
        9,
        (
            Edit(
                Tiers,
                "move",
                """\
            if new is not None or not fits(values):
                new, plain = yield from self._put_new(new_key, new, template, values, now)
""",
                "",
            ),
            Edit(
                Tiers,
                "move",
                """\
            if new is None:
                return values
""",
                """\
            if fits(values):
                return values
            new, plain = yield from self._put_new(new_key, None, template, values, now)
""",
            ),
        ),
    ),
    Mistake(
        "deletion sent for a dead reference",
        10,
        (Edit(Exchange, "_refresh", "if presented.expired and", "if (presented.expired or session._gone) and"),),
    ),
    Mistake(
        "an error treated as a miss",
        13,
        (
            Edit(
                Tiers,
                "_get_home",
                'raise SessionUnavailable(f"the session\'s store cannot be read: {error}") from error',
                "return Missing()",
            ),
        ),
    ),
    Mistake(
        "an idle refresh that writes a store",
        14,
        (
            Edit(
                Exchange,
                "commit",
                """\
            return Finished(self._respond(headers, self._refresh()))
""",
                """\
            cookies = self._refresh()
            if not cookies or session._held is None:
                return Finished(self._respond(headers, cookies))
            self._discarded = True
            token = session._token
            changes = replace(changes, until=(token.expires, token.browser))
            wish = Wish.CHANGE
""",
            ),
        ),
    ),
)
"""The fifteen known ones."""

MORE = (
    Mistake(
        "what is unknown is tried again",
        7,
        (Edit(Tiers, _REPLACE, "if unsure and not reaches_back:", "if False:"),),
    ),
    Mistake(
        "sessions in the cookie are not asked about",
        None,
        (
            Edit(
                SessionManager,
                "_load_stored",
                "self._is_to_ask(bond, token.sid) and refusal is None",
                "result is not None and self._is_to_ask(bond, token.sid) and refusal is None",
            ),
        ),
        needs=Step.REVOKE,
    ),
    Mistake(
        "what was said of a session is believed for ever",
        None,
        (Edit(Principals, "known", "0 <= now - known.asked < self._check", "True"),),
        needs=Step.REVOKE,
    ),
    Mistake(
        "an outage is a logout",
        None,
        (Edit(Principals, "check", "None if entries is None", "Gone(None, 0) if entries is None"),),
        needs=Step.ASK,
    ),
    Mistake(
        "a new id for what was revoked",
        None,
        (
            Edit(Principals, "enter", "elif old is not None and not old.ended:", "elif old is not None:"),
            Edit(Principals, "enter", "old._replace(seen=seen", "old._replace(ended=0, seen=seen"),
        ),
        needs=Step.REVOKE,
    ),
    Mistake(
        "an unconditional put of a list",
        None,
        (Edit(Principals, "_update", "sealed, expires, expect)", "sealed, expires, Expect.ANYTHING)"),),
        needs=Step.ENTER,
    ),
    Mistake(
        "what this process revoked is not remembered",
        None,
        (Edit(Principals, "_end", "self._remember(entries, name, now)", "pass"),),
        needs=Step.REVOKE,
    ),
    Mistake(
        "the one who revokes is revoked too",
        None,
        (Edit(Principals, "revoke", "name != kept", "True"),),
        needs=Step.REVOKE,
    ),
    Mistake(
        "what has ended is listed",
        None,
        (Edit(Principals, "listed", "if not entry.ended and", "if"),),
        needs=Step.REVOKE,
    ),
    Mistake(
        "a list is of everybody",
        None,
        (Edit(Principals, "bond", "self._audience + principal.encode()", "self._audience"),),
        needs=Step.ENTER,
    ),
    Mistake(
        "an answer counts by the clock of afterwards",
        None,
        (
            Edit(
                SessionManager,
                "_load_stored",
                "refusal = yield from self._principals.check(bond, token.sid, now)",
                "yield from self._principals.check(bond, token.sid, now)\n"
                "            refusal = self._refusal(bond, token.sid)",
            ),
        ),
        needs=Step.ASK,
    ),
    Mistake(
        "an older answer takes an end back",
        None,
        (Edit(Principals, "_remember", "before is not None and before.gone is not None", "False"),),
        needs=Step.ASK,
    ),
)
"""More of them, of bound sessions most."""


class NoSuchSourceError(Exception):
    """The core's source has changed: put the mistake where its rule is now."""


@contextmanager
def put_back(mistake: Mistake) -> Iterator[None]:
    """Have the core make a mistake."""
    edits: dict[tuple[type, str], list[Edit]] = {}
    for edit in mistake.edits:
        edits.setdefault((edit.owner, edit.function), []).append(edit)
    with ExitStack() as stack:
        for (owner, name), changes in edits.items():
            stack.enter_context(patch.object(owner, name, _edited(getattr(owner, name), changes, mistake.name)))
        yield


def _edited(function: FunctionType, edits: list[Edit], mistake: str) -> Callable[..., Any]:
    source = inspect.getsource(function)
    for edit in edits:
        if source.count(edit.before) != 1:
            raise NoSuchSourceError(f"{mistake}: {function.__qualname__} does not contain, once: {edit.before!r}")
        source = source.replace(edit.before, edit.after)
    made: dict[str, Any] = {}
    exec(compile(textwrap.dedent(source), f"<{mistake}>", "exec"), function.__globals__, made)
    return made[function.__name__]  # type: ignore[no-any-return]
