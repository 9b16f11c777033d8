-- dnsdist 1.9 and 2 with AF_XDP towards clients and towards a backend.
--
--     xdpctl --interface eth0 --xsk --number-of-queues 1 --pin-owner _dnsdist
-- dnsdist puts the port that it asks the backend from into the destination maps, so that
-- the answers come back over AF_XDP too. The filter never applies name rules to them.
--
-- Lua for dnsdist 2 as well: in YAML, 2.1.3 sends to a backend over AF_XDP with the MAC
-- address 00:00:00:00:00:00, whatever "mac_address" says, and nothing answers.

local xsk = newXsk({ifName="eth0", NIC_queue_id=0, frameNums=65536, xskMapPath="/sys/fs/bpf/dnsdist/xskmap"})
addLocal("192.0.2.53:53", {xskSocket=xsk})

-- The backend is reached through eth0, directly or over a gateway. dnsdist takes its MAC
-- address (the gateway's) from the neighbour table and does not start when it is not
-- there; MACAddr="00:00:5e:00:53:01" makes it independent of that. "source" picks among
-- several addresses of the card. "xskSockets" is a list, one socket a queue.
newServer({address="192.0.2.1:53", xskSockets={xsk}, source="192.0.2.53", healthCheckMode="up"})
setACL({"0.0.0.0/0", "::/0"})
