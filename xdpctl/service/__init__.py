"""The service: what is started in which order, runs together, and stops in reverse.

bootstrap.py        settings, log, privileges; the compile is begun
service.py          start, the tasks, reload, stop
tasks.py            what is done again and again
operations.py       what the API can ask of the running service
interface_watch.py  notices interfaces that come, go or change
pin_repair.py       restores pins that were removed or replaced
readiness.py        when the service is ready, and reporting it
"""
