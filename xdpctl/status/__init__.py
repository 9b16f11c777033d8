"""What the service last saw, and what is reported of it.

observer.py  reads filters and maps once a second, and asks the parts of the service
snapshot.py  what it saw, as one value
part.py      the shape of a part of the service
metrics.py   the snapshot as Prometheus families
checks/      findings about host, interfaces and pins
"""
