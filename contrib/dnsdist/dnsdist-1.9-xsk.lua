-- dnsdist 1.9 (Debian 13) with AF_XDP, for a card with one queue (ethtool -l eth0).
--
-- Start the service first: dnsdist opens the maps that it needs for AF_XDP, and cannot create them.
--     xdpctl --interface eth0 --xsk --number-of-queues 1 --pin-owner _dnsdist
-- dnsdist's own rights are in deploy/dnsdist.service.d/xdpctl.conf.
--
-- Every start of the dnsdist program, its console client (dnsdist -c), --check-config and
-- even --version included, takes the running dnsdist's addresses out of the destination
-- maps, and AF_XDP stops until dnsdist is restarted. Queries are still answered, over the
-- kernel's socket. `xdpctl status` warns; use the web interface instead of -c.

-- Before Linux 5.19 (Debian 11) opening a pin takes a capability, which dnsdist has dropped
-- by the time it registers its addresses. There, add:
--     addCapabilitiesToRetain("CAP_BPF")

-- 65536 frames are 128 MiB of locked memory (LimitMEMLOCK). Powers of two only.
local xsk = newXsk({ifName="eth0", NIC_queue_id=0, frameNums=65536, xskMapPath="/sys/fs/bpf/dnsdist/xskmap"})

-- An exact address: 0.0.0.0 never matches. TCP, and what AF_XDP cannot take
-- (fragments, VLAN tags, IP options), comes in over the ordinary sockets of the same line.
addLocal("192.0.2.53:53", {xskSocket=xsk})
-- IPv6 without AF_XDP: 1.9 sends IPv6 answers with a UDP checksum of 0, which clients
-- discard. dnsdist 2 sends checksums. `xdpctl --xsk-family 4` keeps IPv6 off AF_XDP in any case.
addLocal("[2001:db8::53]:53")

newServer({address="127.0.0.1:5300", healthCheckMode="up"})
setACL({"0.0.0.0/0", "::/0"})

-- The same maps as in dnsdist-1.9.lua: what is blocked is dropped before the socket.
bpf = newBPFFilter({
  ipv4MaxItems=1024, ipv4PinnedPath="/sys/fs/bpf/dnsdist/addr-v4",
  ipv6MaxItems=1024, ipv6PinnedPath="/sys/fs/bpf/dnsdist/addr-v6",
  cidr4MaxItems=1024, cidr4PinnedPath="/sys/fs/bpf/dnsdist/cidr4",
  cidr6MaxItems=1024, cidr6PinnedPath="/sys/fs/bpf/dnsdist/cidr6",
  qnamesMaxItems=1024, qnamesPinnedPath="/sys/fs/bpf/dnsdist/qnames",
  external=true
})
setDefaultBPFFilter(bpf)
