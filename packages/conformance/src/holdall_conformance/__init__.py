"""The suites that every store of Holdall passes: subclass one, fill in a fixture, and prove yours.

    class TestMine(StoreConformance):
        oversize = 1_000_001

        @pytest.fixture
        def store(self) -> Iterator[Store]: ...

Re-exports what an author subclasses; what a store has to do is in `stores`, the wire format as data in `vectors`.
"""

from holdall_conformance.stores import CacheConformance as CacheConformance
from holdall_conformance.stores import StoreConformance as StoreConformance
from holdall_conformance.stores import UnavailableConformance as UnavailableConformance
