"""The HTTP face: metrics, health and the rules API, on a unix socket and on TCP.

    schema.py, queries.py   the documents and parameters: what checks is what describes
    problems.py             RFC 9457 errors
    refusals.py             what a request is refused for
    body.py, lists.py       a request's body, taken in whole and read in parts
    handlers.py, loads.py   one function a resource; with rules in the body
    openapi.py, routes.py   the one table of routes, and its description
    access.py, auth.py      who may do what on which listener; what holds requests to it
    token.py, tls.py        the files of secrets
    limits.py               how many long reads at once
    binding.py              the bound sockets
    entrance.py             accepts on one of them
    admission.py, spare.py  which connections it has; descriptors kept back
    gate.py, head.py        one connection, a request at a time; where that ends
    protocol.py             aiohttp's end of a connection
    app.py                  the application
    listeners.py            control socket and TCP; imports all that needs aiohttp late

What the service must offer is `handlers.Desk`.
"""
