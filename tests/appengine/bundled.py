"""App Engine's bundled services on this machine: Google's memcache stub, in this process or behind HTTP. No fixtures.

Google's own package has the stub, and the client that a request on App Engine uses; what is between the two there, an
HTTP server beside the application, is the few lines of `Endpoint`.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.appengine.api import memcache
from google.appengine.api.memcache.memcache_stub import MemcacheServiceStub
from google.appengine.ext.remote_api import remote_api_bytes_pb2
from google.appengine.runtime import apiproxy_errors

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Google's own code: old escapes, and the module cgi
    from google.appengine.ext import testbed

TICKET = "a request's ticket"


@contextmanager
def stub() -> Iterator[Any]:
    """Have memcache be a stub in this process; yields the stub, empty."""
    bed = testbed.Testbed()
    bed.activate()
    try:
        bed.init_memcache_stub()
        yield bed.get_stub(testbed.MEMCACHE_SERVICE_NAME)
    finally:
        bed.deactivate()


class Endpoint:
    """The endpoint that applications on App Engine find at API_HOST and API_PORT, with a memcache that is a stub."""

    def __init__(self) -> None:
        self.memcache: Any = MemcacheServiceStub()
        self.calls: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return self._server.server_port

    def __enter__(self) -> "Endpoint":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, body: bytes) -> bytes:
        request = remote_api_bytes_pb2.Request.FromString(body)
        response = remote_api_bytes_pb2.Response()
        assert request.request_id == TICKET
        self.calls.append(request.method)
        question = getattr(memcache, f"Memcache{request.method}Request").FromString(request.request)
        answer = getattr(memcache, f"Memcache{request.method}Response")()
        try:
            self.memcache.MakeSyncCall(request.service_name, request.method, question, answer)
            response.response = answer.SerializeToString()
        except apiproxy_errors.Error:
            response.rpc_error.code = response.rpc_error.UNKNOWN
        return bytes(response.SerializeToString())

    def _handler(endpoint) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = endpoint._answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
