"""An OpenID provider on loopback. It logs its user in without a prompt, and can be down, slow or unresponsive."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, Key

ALGORITHM = "ES256"
CLIENT_ID, CLIENT_SECRET = "the-server", "the-secret-of-the-server"
SILENCE_SECONDS = 30


class IdentityProvider:
    """Publishes keys and signs tokens. `requests` records the requested paths."""

    def __init__(self, port: int = 0) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "first"})
        self.requests: list[str] = []
        # The response body that replaces the key set, or None.
        self.keys_instead: bytes | None = None
        self.delay_seconds = 0.0
        self.codes: dict[str, dict[str, str]] = {}
        self._silence = threading.Event()
        self._port = port
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def config_url(self) -> str:
        return f"{self.url}/.well-known/openid-configuration"

    def start(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                provider.answer(self, {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                provider.answer(self, dict(parse_qsl(body)))

            def log_message(self, *_: Any) -> None:
                pass

        self._silence.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections until the next start, which uses the same port."""
        self._silence.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def rotate(self, kid: str) -> None:
        """Sign with a new key, and publish only this key."""
        self.key = ECKey.generate_key("P-256", {"kid": kid})

    def fall_silent(self) -> None:
        """Accept connections, but delay every response by `SILENCE_SECONDS`."""
        self.delay_seconds = SILENCE_SECONDS

    def wake(self) -> None:
        """Answer again, including waiting requests."""
        self.delay_seconds = 0
        self._silence.set()

    def token(self, *, key: Key | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a signed token. `claims` replace the default claims, and a claim that is None is left out."""
        now = int(time.time())
        said = {
            "iss": self.url,
            "aud": "https://mcp.example/mcp",
            "sub": "ada",
            "client_id": "desktop",
            "iat": now,
            "exp": now + 300,
            "scope": "use",
            **claims,
        }
        key = key or self.key
        whole = {"alg": ALGORITHM, "kid": key.kid, **(header or {})}
        return jwt.encode(
            {name: value for name, value in whole.items() if value is not None},
            {name: value for name, value in said.items() if value is not None},
            key,
            algorithms=[whole["alg"]],
        )

    def answer(self, request: BaseHTTPRequestHandler, form: dict[str, str]) -> None:
        parts = urlsplit(request.path)
        self.requests.append(parts.path)
        self._silence.wait(self.delay_seconds)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with suppress(ConnectionError):
            match parts.path:
                case "/keys" if self.keys_instead is not None:
                    self._send(request, self.keys_instead)
                case "/keys":
                    self._send(request, {"keys": [self.key.as_dict(private=False)]})
                case "/.well-known/openid-configuration":
                    self._send(request, self._configuration())
                case "/authorize":
                    code = f"code-{len(self.codes)}"
                    self.codes[code] = query
                    back = urlencode({"code": code, "state": query["state"], "iss": self.url})
                    request.send_response(302)
                    request.send_header("Location", f"{query['redirect_uri']}?{back}")
                    request.end_headers()
                case "/token":
                    self._send(request, self._tokens(form))
                case _:
                    request.send_error(404)

    def _configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "client_id_metadata_document_supported": True,
        }

    def _tokens(self, form: dict[str, str]) -> dict[str, Any]:
        claims: dict[str, Any] = {"aud": CLIENT_ID, "azp": CLIENT_ID, "client_id": None, "scope": None}
        tokens = {
            "access_token": "opaque-access-token-of-the-provider",
            "id_token": self.token(**claims),
            "refresh_token": "refresh-token-of-the-provider",
            "token_type": "Bearer",
            "expires_in": 300,
        }
        if form["grant_type"] == "authorization_code":  # a refresh keeps the scope, so the response omits it
            tokens["scope"] = self.codes[form["code"]].get("scope", "")
        return tokens

    def _send(self, request: BaseHTTPRequestHandler, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    provider = IdentityProvider()
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()
