"""Who is calling: identified by token if there is one, else by network address."""

from fastmcp.server.dependencies import get_access_token, get_http_request


def token_identity() -> str | None:
    """Return the client and the user of the caller's token, or None without a token.

    Both count: all users of one desktop application share its client id.
    """
    token = get_access_token()
    if token is None:
        return None
    user = token.subject or (token.claims or {}).get("sub")
    return f"{token.client_id}/{user}" if user else token.client_id


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
