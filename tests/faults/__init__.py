"""System calls that fail: what the kernel may answer, and the service under each answer.

    errnos.py   which call may fail how, from the manual pages
    trial.py    one start of the real service with one call that fails (strace), judged
    sweep.py    which trials there are
    __main__.py all of them, for `make test-faults`

tests/net/test_faults.py runs a few of them, tests/unit/test_faults_*.py the same idea
on a fake host, where every call can be reached in milliseconds.
"""
