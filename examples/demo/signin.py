"""Signing in with OpenID Connect: Authlib's client, whose state, nonce and PKCE verifier wait in the Holdall session.

Who a session belongs to afterwards is decided in `views`. The provider that comes with the demo is in `provider`.
"""

from collections.abc import MutableMapping
from secrets import compare_digest
from typing import Any, NamedTuple

from authlib.integrations.base_client import OAuthError
from authlib.integrations.base_client.sync_app import OAuth2Mixin
from authlib.integrations.base_client.sync_openid import OpenIDMixin
from authlib.integrations.requests_client import OAuth2Session
from joserfc.errors import JoseError
from requests import RequestException

PENDING = "sign-in"
"""The session's key under which a sign-in that has begun waits for its end."""

GOOGLE = "https://accounts.google.com"
_PATIENCE = 10  # seconds that the provider may take for an answer


class SignInError(Exception):
    """Nobody was signed in. The message says why, in words for the person who tried."""


class Person(NamedTuple):
    """Who signed in."""

    sub: str
    """The provider's name for them, which stays the same for ever (OpenID Connect Core 1.0, section 2)."""
    name: str


class _Client(OAuth2Mixin, OpenIDMixin):  # type: ignore[misc]
    """Authlib's client as its Flask and Django integrations have it, with our session in the place of theirs."""

    client_cls = OAuth2Session


class SignIn:
    """Signs people in at one provider. `redirect_uri` is where the provider sends them back to."""

    def __init__(self, issuer: str, client_id: str, client_secret: str, redirect_uri: str) -> None:
        self.issuer = issuer
        self._redirect_uri = redirect_uri
        self._claims = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}}
        is_local = issuer.startswith("http://127.0.0.1")
        self._client = _Client(
            None,
            client_id=client_id,
            client_secret=client_secret,
            server_metadata_url=f"{issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid profile",
                "code_challenge_method": "S256",
                "default_timeout": _PATIENCE,
                "trust_env": not is_local,  # no proxy leads to this machine
            },
        )

    def begin(self, session: MutableMapping[str, Any]) -> str:
        """Begin to sign in; returns where the browser goes now. Raises `SignInError` if the provider is not there."""
        try:
            begun = self._client.create_authorization_url(self._redirect_uri)
        except (RequestException, ValueError) as error:
            raise SignInError("The provider does not answer.") from error
        session[PENDING] = {name: begun[name] for name in ("state", "nonce", "code_verifier")}
        return str(begun["url"])

    def finish(self, session: MutableMapping[str, Any], query: dict[str, str]) -> Person:
        """Return who came back from the provider, with this query. Raises `SignInError` if that is not certain.

        What waited in the session counts once, whatever comes of it.
        """
        pending = session.pop(PENDING, None)
        if pending is None:
            raise SignInError("No sign-in was begun in this browser, or it was finished already.")
        if not compare_digest(pending["state"].encode(), query.get("state", "").encode()):
            raise SignInError("This is not the sign-in that was begun in this browser.")
        if "code" not in query:
            raise SignInError("The provider signed nobody in.")
        try:
            token = self._client.fetch_access_token(
                self._redirect_uri, code=query["code"], code_verifier=pending["code_verifier"]
            )
            claims = self._client.parse_id_token(token, pending["nonce"], claims_options=self._claims)
        except (OAuthError, JoseError, RequestException, ValueError) as error:
            raise SignInError("What the provider said does not hold.") from error
        if claims is None:
            raise SignInError("The provider did not say who it is.")
        return Person(claims["sub"], claims.get("name") or claims["sub"])
