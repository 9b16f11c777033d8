"""The verbs, one module a family.

block.py      `block`, `allow`, `unblock`
check.py      `check`: finds what would keep the service from working here
detach.py     `detach`: removes our program from an interface
export.py     `export`: the rules as lines
flush.py      `flush`: removes many rules at once
importing.py  `import`: a file of rules
listing.py    `list`: the rules, page by page
panic.py      `panic` and `resume`
prepare.py    `prepare`: the part of a start that needs root
resize.py     `resize`: more room in a shared map
status.py     `status`: the service at a glance
top.py        `top`: the rules with the most hits
"""
