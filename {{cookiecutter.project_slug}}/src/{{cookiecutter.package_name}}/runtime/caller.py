"""Identify the caller, by token if there is one, else by network address."""

from urllib.parse import quote

from fastmcp.server.dependencies import get_access_token, get_http_request

# Characters that are not quoted in an identity, whose parts are separated by spaces.
SAFE = ":/@|+=,;~"
ABSENT = "*"


def token_identity() -> str | None:
    """Return the issuer, the client and the user of the caller's token, or None without a token.

    All three count: the users of one desktop application share its client id, and two issuers may
    give the same id to different users.
    """
    token = get_access_token()
    if token is None:
        return None
    claims = token.claims or {}
    parts = (claims.get("iss"), token.client_id, token.subject or claims.get("sub"))
    return " ".join(quote(str(part), safe=SAFE) if part else ABSENT for part in parts)


def caller_name() -> str:
    """Return the token's identity, else the peer's address, else `local` (stdio)."""
    identity = token_identity()
    if identity is not None:
        return identity
    try:
        peer = get_http_request().client
    except RuntimeError:  # not an HTTP request
        return "local"
    return peer.host if peer else "local"
