"""What a packet, a start and a running service cost: `make bench`.

cases.py     the packets that are timed, and the rules that decide them
program.py   ns per packet: test runs of the loaded program
service.py   from exec to ready, memory of the running service
__main__.py  runs both, prints a table, writes bench.json
"""
