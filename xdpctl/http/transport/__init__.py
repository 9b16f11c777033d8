"""From a socket to a request that may be answered.

binding.py    binds the sockets
entrance.py   accepts a listener's connections, as many as it has room for
admission.py  which connections a listener has, and which one leaves for another
spare.py      descriptors kept back for the control socket
gate.py       one connection: what aiohttp sees of it, and for how long it lives
head.py       where a head and a body end, and which heads are refused
limits.py     how many requests that take long are worked on at once
protocol.py   bytes that are not HTTP
access.py     who may do what on which listener
auth.py       the middleware that enforces it
token.py      the bearer token and its file
tls.py        certificate and key
secrets.py    token, certificate and key read together
body.py       a request's body, taken in whole
keys.py       typed keys of an application; where bodies are spooled
"""
