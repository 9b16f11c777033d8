"""Feeds: where rules come from besides the API (`[[list]]` in the TOML).

    lists.py       all lists as one
    files.py       when each file is read, and what happens when a version is broken
    reader.py      reads one list once, also one that is imported
    detection.py   recognizes a list's format
    foreign.py     files that are not lists, and lists in forms that are not read
    packed.py      unpacks gzip and zip
    bounded.py     a list's text in parts of bounded size
    versions.py    the last good version of each list, and how it is now
    refusals.py    what is said of a version that is not used
    shrinking.py   how much smaller a version of a zone may be
    origins.py     which origins belong to lists, and how the rules of removed lists end
    inotify.py     notices changes in a directory
    zone_list.py   one list that is a zone: what is known about it
    zone_lists.py  when versions of zones are used, and when their rules end
    publish/       what this host publishes in zones
    zone/          lists that are zones: transfers, versions, records as rows
    dnsdist/       dnsdist's dynamic blocks
    formats/       the formats of files

A list's rules are exactly those of its last good version. Only differences are applied, under the
list's origin (store/bulk.py), so a rule in both versions keeps its counter. What a rule cannot
express is left out, counted and logged. Nothing is guessed.
"""
