"""The HTTP face: metrics, health and the rules API, on a unix socket and on TCP.

`schema` (the documents), `problems` (RFC 9457 errors), `auth` (who may do what on
which listener), `handlers` (one function a resource), `app` (routes and listeners).
"""
