"""The verbs, one module a family.

attach.py     `attach`: puts the filter back after `detach`
block.py      `block`, `allow`, `unblock`
check.py      `check`: finds what would keep the service from working here
completion.py  `completion`: the words that a shell can complete
detach.py     `detach`: removes our program from an interface
export.py     `export`: the rules as lines
flush.py      `flush`: removes many rules at once
history.py    `history`: the last changes
importing.py  `import`: a file of rules
limits.py     `limits`, `prove`, `unprove`: what limits do, and who is proven
listing.py    `list`: the rules, page by page
lists.py      `lists`: the lists of the settings, read or accepted now
panic.py      `panic` and `resume`
publish.py    `publish`, `unpublish`: records in a zone that every host follows
prepare.py    `prepare`: the part of a start that needs root
resize.py     `resize`: more room in a shared map
status.py     `status`: the service at a glance
test.py       `test`: what would happen to a query
top.py        `top`: the rules with the most hits; with --live, who sends most
watch.py      `watch`: sampled packets, one line each, or as pcapng and dnstap
"""
