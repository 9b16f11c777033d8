"""Checks: facts about a host, and the findings that follow from them.

    facts.py      the facts and findings as values
    survey.py     gathers the facts; the only module that uses the kernel
    host.py       findings about the host, the pin directory, the pins
    interface.py  findings about one interface
    report.py     all findings in order, and those that need settings and facts

All modules but survey.py are pure, so that tests can use invented facts. The verb `check`
shows every finding; the service logs warnings and errors.
"""
