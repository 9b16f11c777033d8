-- dnsdist 1.9 and 2 with AF_XDP towards clients and towards a backend.
--
--     xdpctl --interface eth0 --xsk --number-of-queues 1 --pin-owner _dnsdist
-- dnsdist writes the port that it sends queries to the backend from into the destination maps,
-- so that the answers come back over AF_XDP, too. The filter applies no name rules to answers.
--
-- Lua for dnsdist 2 as well: in YAML, 2.1.3 sends to a backend over AF_XDP with the MAC
-- address 00:00:00:00:00:00, whatever "mac_address" says, and nothing answers.

local xsk = newXsk({ifName="eth0", NIC_queue_id=0, frameNums=65536, xskMapPath="/sys/fs/bpf/dnsdist/xskmap"})
addLocal("192.0.2.53:53", {xskSocket=xsk})

-- The backend is reached through eth0, directly or over a gateway. dnsdist takes its MAC address
-- (the gateway's) from the neighbour table and does not start if it is missing there;
-- MACAddr="00:00:5e:00:53:01" sets it. "source" chooses one of the card's addresses.
-- "xskSockets" is a list with one socket for each queue.
newServer({address="192.0.2.1:53", xskSockets={xsk}, source="192.0.2.53", healthCheckMode="up"})
setACL({"0.0.0.0/0", "::/0"})
