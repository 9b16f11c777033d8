"""What is at `/` where the web page is off (static.py): what this port is, and links.

For a person who opens the address of a scrape in a browser. Static: no data, no version, and
nothing is loaded from elsewhere, so it needs no token. Owns the page. Does not own routes, which
list it like every other path. Called by aiohttp through api/routes.py.
"""

from __future__ import annotations

from aiohttp import web

PATH = "/"

_LINKS = (
    ("/metrics", "metrics, for Prometheus"),
    ("/healthz", "whether the process lives"),
    ("/readyz", "whether the filter is attached, and why not"),
    ("/api/v1/status", "interfaces, maps, counters and warnings"),
    ("/api/v1/rules", "the rules"),
    ("/api/v1/top", "the rules that are hit most"),
    ("/api/v1/history", "the last changes"),
    ("/api/v1/openapi.json", "the description of the API"),
)

_ITEMS = "".join(f'<li><a href="{path}">{path}</a> {text}</li>\n' for path, text in _LINKS)

_PAGE = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>xdpctl</title></head>
<body>
<h1>xdpctl</h1>
<p>An XDP shield for DNS servers. On an address that is not loopback, only the first three answer
without the token.</p>
<ul>
{_ITEMS}</ul>
</body>
</html>
"""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


async def landing(_request: web.Request) -> web.Response:
    """GET /: this page."""
    return web.Response(text=_PAGE, content_type="text/html", headers=_HEADERS)
