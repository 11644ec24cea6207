"""What several tests of the demo need. No tests and no fixtures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.test import override_settings
from holdall import generate_key

from examples.demo import in_django
from examples.demo.serving import Servers, serving
from examples.demo.watch import Log


@contextmanager
def running(servers: Servers, log: Log, clock: Callable[[], float]) -> Iterator[int]:
    """Serve the demo, on the port that is yielded, also where this process has a Django project of other tests'."""
    key = generate_key()
    if servers.framework == "django" and settings.configured:
        with override_settings(**in_django.SETTINGS, SECRET_KEY=key), serving(servers, key, log, clock) as port:
            yield port
    else:
        with serving(servers, key, log, clock) as port:
            yield port
