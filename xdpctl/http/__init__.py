"""Metrics and API over HTTP: a control socket and a TCP listener.

    listeners.py    both listeners: bound first, served last; imports aiohttp late
    app.py          the application of a listener
    landing.py      what is at `/` without the page: links
    static.py       the web page; its files are in the folder page
    problems.py     errors as RFC 9457 problem documents
    refusals.py     the errors for which a request is rejected
    abandonment.py  whether a client still waits for its request
    transport/      sockets, access, secrets, bodies
    api/            routes, handlers, documents

api/ imports transport/, and both import problems and refusals; never the reverse.
"""
