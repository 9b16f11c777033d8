-- dnsdist 1.7 (Debian 12) with xdpctl.
--
-- For /etc/dnsdist/dnsdist.conf, around your own listeners, servers and rules.
-- dnsdist runs as its own user, which has to own the maps. With xdpctl.service set
--     pin-owner = "_dnsdist:xdpctl"
--     pin-mode = "0660"
-- in /etc/xdpctl/xdpctl.toml; a service that runs as root takes --pin-owner _dnsdist.

-- Three maps: IPv4 addresses, IPv6 addresses, names. The sizes matter only if dnsdist creates
-- the maps; give the service the same (--maps-size). The last argument switches on the
-- "external program" mode: without it dnsdist creates maps of another layout.
bpf = newBPFFilter({maxItems=1024, pinnedPath="/sys/fs/bpf/dnsdist/addr-v4"}, {maxItems=1024, pinnedPath="/sys/fs/bpf/dnsdist/addr-v6"}, {maxItems=1024, pinnedPath="/sys/fs/bpf/dnsdist/qnames"}, true)

-- Dynamic blocks of single addresses go into the maps and are removed when they expire.
setDefaultBPFFilter(bpf)
local dynamic = dynBlockRulesGroup()
dynamic:setQueryRate(50, 10, "more than 50 queries/s over 10 s", 60, DNSAction.Drop)
dynamic:setRCodeRate(DNSRCode.NXDOMAIN, 20, 10, "more than 20 NXDOMAIN/s over 10 s", 60, DNSAction.Truncate)
function maintenance()
  dynamic:apply()
end

-- Permanent blocks. The action is a number: 1 drops, 2 answers TC=1; without one 1.7 drops.
-- Never write DNSAction.Drop here: its number is 0, which lets the packet pass.
--   bpf:block(newCA("192.0.2.66"), 1)
--   bpf:block(newCA("2001:db8::66"), 2)
--   bpf:blockQName(newDNSName("flood.example."), 255, 1)    every type, dropped
--   bpf:blockQName(newDNSName("flood.example."), 1, 2)      type A, TC=1
-- and to remove them:
--   bpf:unblock(newCA("192.0.2.66"))
--   bpf:unblockQName(newDNSName("flood.example."), 255)
