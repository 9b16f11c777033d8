"""Checks: facts about a host, and the findings they give.

    facts.py      what was looked at, as values, and `Finding`
    survey.py     gathers the facts; the only part that touches the kernel
    host.py       findings about the host, the pin directory, the pins
    interface.py  findings about one interface
    report.py     all findings in order, and those of settings and facts together

All but survey.py is pure, so that each check is tested with made-up facts. The verb
`check` shows every finding, the service logs those that are not fine.
"""
