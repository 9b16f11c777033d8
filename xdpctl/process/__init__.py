"""This process: log, command line, threads, children, privileges, clock, systemd.

log.py           one event with fields a line
command_line.py  the parser of arguments, and usage errors as one sentence
threads.py       threads for blocking work, and the fair lock
children.py      Python processes: their environment, and signals
child.py         one at the other end of a pair of sockets
descriptors.py   descriptors over the sockets to them
lanes.py         one thread that does the most urgent work first
capabilities.py  the capability sets of a thread
privileges.py    gives up capabilities, and passes some on to children
caller.py        who asks for what a task does
port_holder.py   which process listens on a port
namespaces.py    what of its host this process sees
garbage.py       large values without long garbage collections
memory.py        how much memory there still is; what is free goes back
modules.py       modules of a library without the rest of it
clock.py         the clock of this boot
systemd.py       messages to the service manager
"""
