-- dnsdist 1.9 (Debian 13) with AF_XDP on two cards with two queues each.
--
--     xdpctl --interface eth0 --interface eth1 --xsk --number-of-queues 2 --pin-owner _dnsdist
-- A socket map has one slot for each queue, so each card has a map of its own: the first card's
-- is xskmap, every further one's xskmap-NAME (`xdpctl status` shows them).
--
-- One socket, and one line of addLocal, for EACH queue that the card receives on
-- (ethtool -l: "Combined", or else "RX"): queries on a queue without a socket are
-- answered over the kernel's socket. See dnsdist-1.9-xsk.lua for the rest.

local queues = 2
local cards = {
  {name="eth0", map="/sys/fs/bpf/dnsdist/xskmap", address="192.0.2.53:53"},
  {name="eth1", map="/sys/fs/bpf/dnsdist/xskmap-eth1", address="198.51.100.53:53"},
}

for _, card in ipairs(cards) do
  for queue = 0, queues - 1 do
    -- 32 MiB of locked memory for each socket
    local xsk = newXsk({ifName=card.name, NIC_queue_id=queue, frameNums=16384, xskMapPath=card.map})
    addLocal(card.address, {xskSocket=xsk, reusePort=true})
  end
end

newServer({address="127.0.0.1:5300", healthCheckMode="up"})
setACL({"0.0.0.0/0", "::/0"})
