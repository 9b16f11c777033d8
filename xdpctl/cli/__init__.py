"""The command line: verbs that use the control socket, and the start of the service.

    main.py      finds a verb by its name, or starts the service
    verb.py      what a verb is: arguments and session
    client.py    HTTP over the control socket
    claims.py    sentences about claims
    typed.py     targets as people type and paste them
    render.py    tables, numbers and times for people
    progress.py  a progress bar, or a line every few seconds
    keyboard.py  single keys of a terminal
    screen.py    lines that are drawn over those of before
    traffic.py   which sampled packets: options, and what the service is asked
    talkers.py   the live table of `top --live`
    leftover.py  what a service that does not answer has left
    help.py      `xdpctl --help`
    verbs/       one module a family of verbs

A new family is a new file in verbs/ and one line for each verb in `main.FAMILIES`.
"""
