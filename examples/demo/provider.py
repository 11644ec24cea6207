"""An OpenID Connect provider on this machine, so that the demo's sign-in works without any network.

It asks for no password: whoever uses the demo is who they say they are. All else is as OpenID Connect Core 1.0 and
PKCE (RFC 7636) want it, for the one client that it knows. Tokens are signed by joserfc; nothing is kept but codes.
"""

import json
import secrets
import time
from base64 import b64decode, urlsafe_b64encode
from hashlib import sha256
from http import HTTPStatus
from threading import Lock
from typing import NamedTuple
from urllib.parse import unquote, urlencode

from joserfc import jwt
from joserfc.jwk import ECKey

from .page import render
from .watch import Environ, StartResponse
from .web import LONGEST_FORM, Form, read_form

PEOPLE = {"ada": "Ada Lovelace", "grace": "Grace Hopper", "mary": "Mary Somerville"}
CODE_LIVES = 60  # seconds
TOKEN_LIVES = 300

Answer = tuple[HTTPStatus, dict[str, str], str]


class _Code(NamedTuple):
    """What was agreed when a code was given."""

    sub: str
    redirect_uri: str
    nonce: str
    challenge: str
    expires: float


class Provider:
    """A WSGI application at `issuer`, for the client that has `client_id` and `client_secret` and no other address."""

    def __init__(self, issuer: str, client_id: str, client_secret: str, redirect_uri: str) -> None:
        self._issuer = issuer
        self._client = client_id, client_secret
        self._redirect_uri = redirect_uri
        self._key = ECKey.generate_key("P-256", {"kid": secrets.token_hex(4), "use": "sig", "alg": "ES256"})
        self._codes: dict[str, _Code] = {}
        self._lock = Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """Handle a request."""
        length = min(int(environ.get("CONTENT_LENGTH") or 0), LONGEST_FORM)
        form = read_form(environ["wsgi.input"].read(length))
        match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
            case "GET", "/.well-known/openid-configuration":
                answer = _as_json(self._describe())
            case "GET", "/keys":
                answer = _as_json({"keys": [self._key.as_dict(private=False)]})
            case "GET", "/authorize":
                answer = self._ask(read_form(environ.get("QUERY_STRING", "")))
            case "POST", "/authorize":
                answer = self._send_back(form)
            case "POST", "/token":
                answer = self._give_token(environ.get("HTTP_AUTHORIZATION", ""), form)
            case _:
                answer = HTTPStatus.NOT_FOUND, {"Content-Type": "text/plain"}, "There is nothing here."
        status, headers, body = answer
        sent = {"Cache-Control": "no-store", "Content-Length": str(len(body.encode()))} | headers
        start_response(f"{status.value} {status.phrase}", [*sent.items()])
        return [body.encode()]

    def _describe(self) -> dict[str, object]:
        """OpenID Connect Discovery 1.0, section 3."""
        return {
            "issuer": self._issuer,
            "authorization_endpoint": f"{self._issuer}/authorize",
            "token_endpoint": f"{self._issuer}/token",
            "jwks_uri": f"{self._issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "profile"],
        }

    def _is_sound(self, wanted: Form) -> bool:
        """Tell whether somebody may be sent back with an answer to this request (Core, 3.1.2.2)."""
        return (
            wanted.get("response_type") == "code"
            and wanted.get("client_id") == self._client[0]
            and wanted.get("redirect_uri") == self._redirect_uri
            and "openid" in wanted.get("scope", "").split()
            and wanted.get("code_challenge_method") == "S256"
            and bool(wanted.get("code_challenge"))
        )

    def _ask(self, wanted: Form) -> Answer:
        if not self._is_sound(wanted):
            return _REFUSED
        origin = self._redirect_uri.rpartition("/")[0]
        policy = f"default-src 'none'; style-src {origin}; img-src data:; form-action 'self' {origin}; base-uri 'none'"
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
        }
        return (
            HTTPStatus.OK,
            headers,
            render("provider.html", title="Who are you?", people=PEOPLE, wanted=wanted, origin=origin),
        )

    def _send_back(self, form: Form) -> Answer:
        """Send the browser back with a code, or with the news that nobody is to be signed in (Core, 3.1.2.5 and 6)."""
        if not self._is_sound(form):
            return _REFUSED
        said = {"state": form.get("state", "")}
        if form.get("person") in PEOPLE:
            said["code"] = code = secrets.token_urlsafe(24)
            with self._lock:
                self._codes[code] = _Code(
                    form["person"],
                    form["redirect_uri"],
                    form.get("nonce", ""),
                    form["code_challenge"],
                    time.time() + CODE_LIVES,
                )
        else:
            said["error"] = "access_denied"
        return HTTPStatus.SEE_OTHER, {"Location": f"{self._redirect_uri}?{urlencode(said)}"}, ""

    def _give_token(self, authorization: str, form: Form) -> Answer:
        """Core, 3.1.3. A code is good once, for a minute, and for whoever has the verifier."""
        if not secrets.compare_digest(_basic(authorization).encode(), ":".join(self._client).encode()):
            return _as_json({"error": "invalid_client"}, HTTPStatus.UNAUTHORIZED)
        with self._lock:
            code = self._codes.pop(form.get("code", ""), None)
        verifier = urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if (
            code is None
            or form.get("grant_type") != "authorization_code"
            or code.expires < time.time()
            or code.redirect_uri != form.get("redirect_uri")
            or code.challenge != verifier
        ):
            return _as_json({"error": "invalid_grant"}, HTTPStatus.BAD_REQUEST)
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "sub": code.sub,
            "aud": self._client[0],
            "iat": now,
            "exp": now + TOKEN_LIVES,
            "nonce": code.nonce,
            "name": PEOPLE[code.sub],
        }
        header = {"alg": "ES256", "kid": self._key.kid}
        token = {
            "access_token": secrets.token_urlsafe(24),  # which opens nothing: there is nothing more to tell
            "token_type": "Bearer",
            "expires_in": TOKEN_LIVES,
            "id_token": jwt.encode(header, claims, self._key),
        }
        return _as_json(token)


_REFUSED: Answer = HTTPStatus.BAD_REQUEST, {"Content-Type": "text/plain"}, "This provider knows no such client."


def _as_json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value)


def _basic(authorization: str) -> str:
    """Return the id and secret that a client presents (RFC 6749, 2.3.1), or nothing."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        return unquote(b64decode(encoded, validate=True).decode()) if scheme.lower() == "basic" else ""
    except ValueError:
        return ""
