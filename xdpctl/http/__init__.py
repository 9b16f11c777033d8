"""Metrics and API over HTTP: a control socket and a TCP listener.

    listeners.py    both listeners: bound first, served last; imports aiohttp late
    app.py          the application of a listener
    problems.py     errors as RFC 9457 problem documents
    refusals.py     what a request is refused for
    abandonment.py  whether somebody still waits for what is about to be done
    transport/      sockets, access, secrets, bodies
    api/            routes, handlers, documents

api/ imports transport/, both import problems and refusals, never the other way.
"""
