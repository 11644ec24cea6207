"""Every event there is, as it was told while its story went on: the tables of docs/observability.md.

`python -m tests.docs.events` prints them. Nothing here is written by hand but when an event is told.
"""

import logging
import sys

from holdall import Event
from holdall.events import REASONS

from tests.core.test_events import told

WHEN = {
    "rejected": "a request presented something that is not, or no more, a session; or a record is not one",
    "loaded": "a session's data is there; `tier` says from where",
    "merged": "another request was faster, and the changes were replayed on what it left",
    "dropped": "changes were dropped, and the receipt's `conflicts` say which keys they were for",
    "degraded": "a store did not do what it should, and the request went on without",
    "committed": "the response's headers were made, once in a request; `reason` says how",
    "late": "what was changed after the headers was saved, or not",
    "failed": "a load, a commit or a finish raised",
    "command": "a store answered, or did not",
}


def tables() -> list[str]:
    """Return the table of events and that of their reasons, as Markdown."""
    events = ["| event | is told when | its fields, beside `reason` |", "|---|---|---|"]
    reasons = ["| event | reason | in the log | as a sentence |", "|---|---|---|---|"]
    for name, known in REASONS.items():
        fields: set[str] = set()
        for reason, (level, sentence) in known.items():
            for event in told(name, reason)[0]:
                if event.name == name:
                    fields |= event.fields().keys()
            reasons.append(f"| `{name}` | `{reason}` | {logging.getLevelName(level) if level else ''} | {sentence} |")
        further = ", ".join(f"`{field}`" for field in Event._fields[3:] if f"holdall_{field}" in fields)
        events.append(f"| `{name}` | {WHEN[name]} | {further} |")
    return ["\n".join(events), "\n".join(reasons)]


if __name__ == "__main__":
    logging.disable()
    sys.stdout.write("\n\n".join([*tables(), ""]))
