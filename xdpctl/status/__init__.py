"""The state of the service, and the reports about it.

observer.py  reads filters and maps once a second, and asks the parts of the service
snapshot.py  the result, as one value
rates.py     packets a second, of two looks
part.py      the shape of a part of the service
metrics.py   the snapshot as Prometheus metrics
checks/      findings about host, interfaces and pins
"""
