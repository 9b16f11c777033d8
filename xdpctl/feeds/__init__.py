"""Feeds: where rules come from besides the API (`[[list]]` in the TOML).

    files.py    when each file is read, and what happens to a broken version
    reader.py   one reading of one file
    bounded.py  a file's lines in parts of bounded size
    origins.py  which origins are lists', and the end of those that are no more
    inotify.py  notices changes in a directory
    formats/    the formats of files

A list's rules are exactly those of its file's last good version. They are made by
difference under the list's origin (store/bulk.py), so a rule in both versions keeps its
counter. What a rule cannot say is left out, counted and logged; it is never guessed.
"""
