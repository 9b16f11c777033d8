"""The service: what is started in which order, runs together, and stops in reverse.

bootstrap.py        settings, log, privileges; the compile is begun
service.py          runs the service from signals to exit status
start.py            the order of start, and the list of parts
resources.py        what the service holds: listeners, filters, maps, state, threads
tasks.py            runs the parts as tasks
leaving.py          whether the filters stay attached at the end
operations.py       what the API can ask of the running service
account.py          a log line and a row of history for each change
panic.py            the one owner of panic
current_program.py  a part: the program in force, its exchange and retry
pin_repair.py       a part: restores pins that were removed or replaced
own_tables.py       a part: our own tables, made, grown and ended
program_maps.py     the maps of the programs, of which some change while they run
limits.py           a part: follows what the limits do
limit_tables.py     the limits in force: their maps and the values in them
tcp_proofs.py       a part: the program that sees all processes' TCP connections
samples.py          a part: takes samples of packets while somebody looks
list_exemptions.py  clients that lists exempt, over restarts
zone_limits.py      a part: the limits of own zones, and zones that are asked for much
precompile.py       a part: compiles ahead what the first zone or list rule needs
interface_watch.py  a part: notices interfaces that come, go or change
looks.py            a part: looks every second, then lets repairs and retries run
live.py             a part: what live streams show, once a second
dnstap_output.py    a part: sampled queries as dnstap, to a receiver or file
watch.py            samples for those who look: parsed, chosen, with their rule
settling.py         a part: compares notes and maps
claim_counts.py     a part: counts claims by class for the metrics
widened_names.py    a part: warns of rules that mean more than they did
stale_entries.py    a part: what dnsdist's former process left in the maps
dynamic_claims.py   claims of dnsdist's dynamic blocks, for feeds/dnsdist/
expiry.py           a part: removes rules when their time is over
reload.py           a part: takes over changed settings
heap.py             a part: what is free in the heap goes back to the kernel
watchdog.py         a part: signs of life for the service manager
readiness.py        when the service is ready, and reporting it
"""
