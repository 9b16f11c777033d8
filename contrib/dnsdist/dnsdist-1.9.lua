-- dnsdist 1.9 (Debian 13) with xdpctl: what dnsdist blocks is dropped on the card.
--
-- For /etc/dnsdist/dnsdist.conf. The addresses are examples: replace them with yours. The service
-- starts first and gives the maps to dnsdist's user. With xdpctl.service set
--     pin-owner = "_dnsdist:xdpctl"
--     pin-mode = "0660"
-- in /etc/xdpctl/xdpctl.toml; a service that runs as root takes --pin-owner _dnsdist. The
-- drop-in deploy/dnsdist.service.d/xdpctl.conf makes dnsdist start after the service.

setLocal("192.0.2.53:53")
addLocal("[2001:db8::53]:53")
newServer({address="127.0.0.1:5300", healthCheckMode="up"})
setACL({"0.0.0.0/0", "::/0"})

-- Name all five maps: if one is missing or has no size, dnsdist does not start. The sizes
-- matter only if dnsdist creates the maps; give the service the same (--maps-size).
-- Without "external" dnsdist creates maps of another layout, which the service refuses.
bpf = newBPFFilter({
  ipv4MaxItems=1024, ipv4PinnedPath="/sys/fs/bpf/dnsdist/addr-v4",
  ipv6MaxItems=1024, ipv6PinnedPath="/sys/fs/bpf/dnsdist/addr-v6",
  cidr4MaxItems=1024, cidr4PinnedPath="/sys/fs/bpf/dnsdist/cidr4",
  cidr6MaxItems=1024, cidr6PinnedPath="/sys/fs/bpf/dnsdist/cidr6",
  qnamesMaxItems=1024, qnamesPinnedPath="/sys/fs/bpf/dnsdist/qnames",
  external=true
})

-- Dynamic blocks of single addresses, Drop and Truncate only, go into the maps and are removed
-- when they expire. Those of whole subnets or name suffixes stay in dnsdist.
setDefaultBPFFilter(bpf)
local dynamic = dynBlockRulesGroup()
dynamic:setQueryRate(50, 10, "more than 50 queries/s over 10 s", 60, DNSAction.Drop)
dynamic:setRCodeRate(DNSRCode.NXDOMAIN, 20, 10, "more than 20 NXDOMAIN/s over 10 s", 60, DNSAction.Truncate)
function maintenance()
  dynamic:apply()
end

-- Permanent blocks. The maps outlive dnsdist, and blocking what is in them already is an error
-- that would stop the next start: hence the pcall. Actions are numbers here: 1 drops, 2 answers
-- TC=1. (`xdpctl block` does the same without dnsdist.)
local function keep(what, method, ...)
  local done, why = pcall(bpf[method], bpf, ...)
  if not done then infolog("kept as it is in the map: " .. what .. " (" .. tostring(why) .. ")") end
end
keep("192.0.2.66", "block", newCA("192.0.2.66"), 1)
keep("2001:db8::66", "block", newCA("2001:db8::66"), 2)
keep("flood.example, every type", "blockQName", newDNSName("flood.example."), 255, 1)
keep("amplify.example, TXT", "blockQName", newDNSName("amplify.example."), DNSQType.TXT, 2)
-- "true" at the end: 1.8 to 2.0.5 refuse every range without it.
keep("198.51.100.64/26", "addRangeRule", "198.51.100.64/26", 1, true)
keep("2001:db8:66::/48", "addRangeRule", "2001:db8:66::/48", 2, true)
