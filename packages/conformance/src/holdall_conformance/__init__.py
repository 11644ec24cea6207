"""The suites that every adapter and every store of Holdall passes: subclass one, fill in a fixture, and prove yours.

    class TestMine(AdapterConformance):
        @pytest.fixture
        def adapter(self) -> Adapter:
            return Mine()

Re-exports what an author needs. What an adapter has to do is in `adapters`, what a store has to do in `stores`; the
wire format as data is in `vectors`.
"""

from holdall_conformance.adapters import AdapterConformance as AdapterConformance
from holdall_conformance.adapters import puts as puts
from holdall_conformance.clients import Browser as Browser
from holdall_conformance.clients import Request as Request
from holdall_conformance.clients import Response as Response
from holdall_conformance.clients import call_asgi as call_asgi
from holdall_conformance.clients import call_wsgi as call_wsgi
from holdall_conformance.clients import fetch as fetch
from holdall_conformance.script import Application as Application
from holdall_conformance.script import Page as Page
from holdall_conformance.site import Adapter as Adapter
from holdall_conformance.site import Site as Site
from holdall_conformance.stores import CacheConformance as CacheConformance
from holdall_conformance.stores import StoreConformance as StoreConformance
from holdall_conformance.stores import UnavailableConformance as UnavailableConformance
