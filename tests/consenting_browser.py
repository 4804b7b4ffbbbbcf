"""A browser that consents to everything. Tests set it as BROWSER; its argument is a URL."""

import re
import sys
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener


def visit(url: str) -> None:
    opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))
    with opener.open(url) as answer:
        page, place = answer.read().decode(), answer.url
    form = dict(re.findall(r'<input[^>]*name="(\w+)"[^>]*value="([^"]*)"', page))
    if form:
        parts = urlsplit(place)
        body = urlencode({**form, "action": "approve"}).encode()
        opener.open(Request(place, body, {"Origin": f"{parts.scheme}://{parts.netloc}"})).close()


if __name__ == "__main__":
    visit(sys.argv[1])
