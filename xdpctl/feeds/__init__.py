"""Feeds: where rules come from besides the API (`[[list]]` in the TOML).

    files.py    when each file is read, and what happens when a version is broken
    reader.py   reads one file once
    bounded.py  a file's lines in parts of bounded size
    origins.py  which origins belong to lists, and how the rules of removed lists end
    inotify.py  notices changes in a directory
    formats/    the formats of files

A list's rules are exactly those of the last good version of its file. Only differences
are applied, under the list's origin (store/bulk.py), so a rule in both versions keeps its
counter. What a rule cannot express is left out, counted and logged. Nothing is guessed.
"""
