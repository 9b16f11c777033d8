"""The state of the service, and the reports about it.

observer.py  reads filters and maps once a second
snapshot.py  the result, as one value
metrics.py   the snapshot as Prometheus metrics
checks/      findings about host, interfaces and pins
"""
