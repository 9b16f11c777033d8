"""Minutes of everything at once, after which the service must be as large as before.

Two services, each with hosts of its own and the same traffic, changes, scrapes and
reloads: one lives through it all, the other is killed and started again all the time.

    site.py      Site: one service, its hosts, its packets, its end
    work.py      what is asked of it, one thing after another
    gauge.py     Sample: memory, descriptors, threads, files at one moment
    verdict.py   which series grow, by how much, and what they may
    chart.py     the plot
    __main__.py  `make soak`: runs, prints, writes the results (tests/bench/report.py)
"""
