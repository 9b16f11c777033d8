"""Publishing in response policy zones: records of ours at a primary, by DNS UPDATE.

    publisher.py  what is published, when it is sent and removed: a part of the service
    zones.py      one zone: its primary is asked, and asked again
    plans.py      what is to be done about one record
    claims.py     the dynamic claims that are worth a record
    changes.py    changes of records that leave another's alone
    edits.py      one change of a record
    update.py     one connection to a primary: messages, prerequisites, refusals
    primaries.py  where the updates of a zone go, with which key
    records.py    the records of a target, as text
    views.py      what is shown: values, sentences

What is there before each change is stated in the update itself, so that another's record is never
overwritten. A record is in the state before it is sent and until it is known to be gone.
"""
