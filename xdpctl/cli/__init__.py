"""The command line: verbs over the control socket, and the way into the service.

    main.py      finds a verb by its name, else starts the service
    verb.py      what a verb is: arguments, session, usage errors
    client.py    HTTP over the control socket
    render.py    tables, numbers and times for people
    progress.py  a progress bar, or a line now and then
    help.py      `xdpctl --help`
    verbs/       one module a family of verbs

A new family is a new file in verbs/ and its line in `main.FAMILIES`.
"""
