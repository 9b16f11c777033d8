"""Rules over maps, with notes.

    store.py       add, change, remove, list
    change.py      a change of many rules, as one value
    bulk.py        such a change, worked in by difference
    difference.py  a list beside the notes: new, changed, gone
    sorting.py     the rows of a list, sorted by key
    matching.py    these rows and the notes, side by side
    fresh.py       rows that have no note, until they are written
    spool.py       parts of a long list, on the disk
    source.py      a list of rules that is read part by part
    theirs.py      dnsdist's entries, removed where they are asked for
    dynamic.py     claims that follow what dnsdist blocks
    entries.py     what is in the maps and whose it is
    claims.py      which of several claims on a target is in force
    implied.py     what implied rules of a list do, beside other lists
    standing.py    all claims on the targets of some entries
    pages.py       the rules page by page
    top.py         the rules hit most
    overlap.py     rules that a more exact rule overrides
    name_overlap.py  the same among names and zones
    export.py      the rules as lines
    reconcile.py   notes and maps kept in agreement, expiry
    wildcards.py   names of any type, when --any-qtype changes
    state.py       the notes: one SQLite file
    history.py     the last changes, in the same file
    published.py  what this host has published in zones, in the same file
    tally.py       what was removed, in short
    inspection.py  the rules that concern one target
    deciding.py    which rule decided about a query
    rule_map.py    what the store needs of a map of rules
    tables/        our own tables: zones, and what lists claim
    worker/        a process for long lists

The maps are the truth for what is blocked, notes say whose a rule is and until when. In our
own tables, which have no names in them, the notes are the truth.
"""
