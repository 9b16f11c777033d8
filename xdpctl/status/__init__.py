"""What the service last saw, and what is reported of it.

observer.py  reads filters and maps once a second
snapshot.py  what it saw, as one value
metrics.py   the snapshot as Prometheus families
checks/      findings about host, interfaces and pins
"""
