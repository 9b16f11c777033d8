"""From a socket to a request that is allowed to be answered.

binding.py    binds the sockets
entrance.py   accepts a listener's connections, as many as it has room for
admission.py  which connections a listener has, and which one is closed for another
spare.py      descriptors kept back for the control socket
gate.py       one connection: what aiohttp sees of it, and for how long it lives
head.py       where a head and a body end, and which heads are rejected
limits.py     how many slow requests run at once
protocol.py   aiohttp's end of a connection, and how requests are paced
access.py     who may do what on which listener
auth.py       the middleware that enforces it
few.py        log lines that a stranger can cause, few of them
token.py      the bearer token and its file
tls.py        certificate and key
secrets.py    reads token, certificate and key together
body.py       receives a request's whole body
keys.py       typed keys of an application; where bodies are spooled
"""
