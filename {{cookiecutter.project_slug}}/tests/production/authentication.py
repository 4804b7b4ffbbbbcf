"""An issuer of tokens for tests, and the settings of a server that accepts them."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, Key

from {{ cookiecutter.package_name }}.patterns.authentication import (
    AuthenticationSettings,
)

ALGORITHM = "ES256"


class Issuer:
    """Signs tokens with a key of its own."""

    audience = "https://mcp.example/mcp"

    def __init__(self, url: str = "https://login.example") -> None:
        self.url = url
        self.key = ECKey.generate_key("P-256", {"kid": "first"})

    @property
    def public_key(self) -> str:
        return self.key.as_pem(private=False).decode()

    def settings(self, **more: Any) -> AuthenticationSettings:
        """Return the settings of a server that accepts the tokens, and `more`."""
        accepting = {
            "auth_issuer": self.url,
            "auth_audience": self.audience,
            "auth_jwks_url": "",
            "auth_public_key": self.public_key,
            "auth_algorithm": ALGORITHM,
            "auth_scopes": (),
            "auth_write_scopes": (),
            "public_url": "https://mcp.example",
        }
        return AuthenticationSettings(**{**accepting, **more})

    def token(self, *, key: Key | None = None, header: Any = None, **claims: Any) -> str:
        """Return a valid token, except for the given claims; a claim that is None is left out."""
        now = int(time.time())
        said = {
            "iss": self.url,
            "aud": self.audience,
            "sub": "ada",
            "client_id": "desktop",
            "iat": now,
            "exp": now + 300,
            "scope": "",
            **claims,
        }
        key = key or self.key
        header = {"alg": ALGORITHM, "kid": key.kid, **(header or {})}
        header = {name: value for name, value in header.items() if value is not None}
        claims = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(header, claims, key, algorithms=[header["alg"]])


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """Serve the key set of an issuer at its URL."""

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": [issuer.key.as_dict(private=False)]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Keys) as server:
        issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
