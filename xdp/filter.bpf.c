/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The filter: the stages in their order, one exit that counts. Each stage
 * returns a verdict or CONTINUE. The service compiles this file at start, with
 * the lines of its configuration before it (config.h), and for tests it is
 * compiled for the host as well.
 */
#include "answer.h"
#include "config.h"
#include "dns.h"
#include "packet.h"
#include "verdict.h"

#define XSK_FRAME_MAX 1792 /* what dnsdist's buffers hold */
#define TRAITS_DNS    (TRAIT_PORT | TRAIT_DESTINATION)
#define TRAITS_NO_XSK (TRAIT_VLAN | TRAIT_OPTIONS | TRAIT_EXTENSIONS | TRAIT_FIRST_FRAGMENT)

/* Counts a hit, at once, and gives the verdict that the rule asks for. */
static __always_inline __u64 hit(struct rule_value *rule, enum reason reason)
{
	__u64 action = *(volatile __u8 *)&rule->action;

	__sync_fetch_and_add(&rule->hits, 1);
	if (action > RULE_TRUNCATE)
		action = RULE_PASS;
	return VERDICT(reason, action);
}

static __always_inline __u64 ipv4_source_rule(const struct ipv4_header *ip)
{
	struct addr_v4_key address = {be32(ip->saddr_be)};
	struct cidr4_key prefix = {.prefixlen = 32};
	struct rule_value *rule = map_lookup(MAP_ADDR_V4, &address);

	if (rule)
		return hit(rule, REASON_ADDR_V4);
	store32(prefix.saddr_be, be32(address.saddr_host));
	rule = map_lookup(MAP_CIDR4, &prefix);
	return rule ? hit(rule, REASON_CIDR4) : NO_RULE;
}

static __always_inline __u64 ipv6_source_rule(const struct ipv6_header *ip)
{
	struct cidr6_key prefix = {.prefixlen = 128};
	struct rule_value *rule = map_lookup(MAP_ADDR_V6, ip->saddr_be);

	if (rule)
		return hit(rule, REASON_ADDR_V6);
	__builtin_memcpy(prefix.saddr_be, ip->saddr_be, sizeof(prefix.saddr_be));
	rule = map_lookup(MAP_CIDR6, &prefix);
	return rule ? hit(rule, REASON_CIDR6) : NO_RULE;
}

/* Exact address, then longest prefix. */
static __always_inline __u64 source_rule(struct xdp_md *ctx, const struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	const __u8 *ip = frame_start(ctx) + network;
	const __u8 *end = frame_end(ctx);

	if (scratch_get(scratch, traits) & TRAIT_IPV6)
		return ip + IPV6_HEADER <= end ? ipv6_source_rule((const struct ipv6_header *)ip)
					       : NO_RULE;
	return ip + IPV4_HEADER_MIN <= end ? ipv4_source_rule((const struct ipv4_header *)ip)
					   : NO_RULE;
}

/* The name that lies folded in the scratch: own type, then the wildcards, no key twice. */
static __always_inline __u64 name_rule(struct scratch *scratch, __u16 qtype)
{
	struct rule_value *rule;

	scratch->key.qtype = qtype;
	rule = map_lookup(MAP_QNAMES, &scratch->key);
	if (CONFIG_QTYPE_65535 && !rule && qtype != 65535) {
		scratch->key.qtype = 65535;
		rule = map_lookup(MAP_QNAMES, &scratch->key);
	}
	if (CONFIG_QTYPE_255 && !rule && qtype != 255) {
		scratch->key.qtype = 255;
		rule = map_lookup(MAP_QNAMES, &scratch->key);
	}
	return rule ? hit(rule, REASON_QNAME) : NO_RULE;
}

/* The rule for the question whose name has `name_length` octets. */
static __always_inline __u64 question_rule(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 name_length = scratch_get(scratch, name_length);
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	const __u8 *dns = frame_start(ctx) + transport + UDP_HEADER;
	const __u8 *end = frame_end(ctx);
	const __u8 *type = dns + DNS_HEADER + name_length;
	__u16 qtype;

	if (type + sizeof(qtype) > end)
		return NO_RULE;
	qtype = be16(load16(type));
	/* A prefilter over (name, type) in front of the three look-ups belongs here. */
	if (!dns_fold_name(scratch, dns, end, name_length))
		return NO_RULE;
	return name_rule(scratch, qtype);
}

/* Stage 1: what is filtered at all; leaves in the scratch what was found out. */
static __always_inline __u64 way_in(struct xdp_md *ctx, struct scratch **found)
{
	struct cursor cursor = {frame_start(ctx), frame_end(ctx), 0};
	struct packet packet = {};
	struct scratch *scratch;
	__u16 port;
	__u64 verdict = parse_packet(&cursor, &packet, &port);

	if (verdict != CONTINUE)
		return verdict;
	if (packet.traits & TRAIT_ADDRESS) {
		if (is_port(port))
			packet.traits |= packet.traits & TRAIT_UDP ? TRAIT_FILTERED | TRAIT_PORT
								   : TRAIT_FILTERED;
		else if (is_address_port(port))
			packet.traits |= TRAIT_FILTERED;
	}
	if (!(packet.traits & TRAIT_FILTERED)) {
		if (!(packet.traits & TRAIT_UDP))
			return PASS_OTHER;
		if (!(packet.traits & TRAIT_IPV6 ? CONFIG_XSK_V6 : CONFIG_XSK_V4))
			return PASS_OTHER;
	}
	scratch = scratch_of_cpu();
	if (!scratch)
		return PASS_OTHER;
	scratch_put(scratch, network, packet.network);
	scratch_put(scratch, transport, packet.transport);
	scratch_put(scratch, traits, packet.traits);
	*found = scratch;
	return CONTINUE;
}

/* Whether the packet is for an exact AF_XDP destination. */
static __always_inline bool is_destination(struct xdp_md *ctx, const struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	const __u8 *start = frame_start(ctx);
	const __u8 *end = frame_end(ctx);
	const struct udp_header *udp = (const struct udp_header *)(start + transport);

	if ((const __u8 *)(udp + 1) > end)
		return false;
	if (scratch_get(scratch, traits) & TRAIT_IPV6) {
		const struct ipv6_header *ip = (const struct ipv6_header *)(start + network);
		struct xsk_destination_v6 key = {};

		if (!CONFIG_XSK_V6 || (const __u8 *)(ip + 1) > end)
			return false;
		__builtin_memcpy(key.daddr_be, ip->daddr_be, sizeof(key.daddr_be));
		store16(key.port_be, udp->destination_be);
		return map_lookup(MAP_XSK_DESTINATIONS_V6, &key);
	} else {
		const struct ipv4_header *ip = (const struct ipv4_header *)(start + network);
		struct xsk_destination_v4 key = {};

		if (!CONFIG_XSK_V4 || (const __u8 *)(ip + 1) > end)
			return false;
		store32(key.daddr_be, ip->daddr_be);
		store16(key.port_be, udp->destination_be);
		return map_lookup(MAP_XSK_DESTINATIONS_V4, &key);
	}
}

/* Stage 2, with AF_XDP: UDP that is not to a --port is filtered where it is registered. */
static __always_inline __u64 destination(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 traits = scratch_get(scratch, traits);

	if (!(traits & TRAIT_UDP) || traits & TRAIT_PORT)
		return CONTINUE;
	if (is_destination(ctx, scratch))
		scratch_put(scratch, traits, traits | TRAIT_DESTINATION);
	else if (!(traits & TRAIT_FILTERED))
		return PASS_OTHER;
	return CONTINUE;
}

/* Stage 3: rules by source, and what they decide without a look at the question. */
static __always_inline __u64 by_source(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 traits = scratch_get(scratch, traits);
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	const struct dns_header *dns;
	__u64 rule;

	dns = (const struct dns_header *)(frame_start(ctx) + transport + UDP_HEADER);
	if (traits & TRAITS_DNS && (const __u8 *)(dns + 1) > frame_end(ctx))
		return VERDICT(REASON_MALFORMED, ACTION_DROP);
	rule = source_rule(ctx, scratch);
	scratch_put(scratch, rule, rule);
	rule = scratch_get(scratch, rule);
	if (rule != NO_RULE && action_of(rule) != RULE_TRUNCATE)
		return rule;
	if (!(traits & TRAITS_DNS))
		return rule == NO_RULE ? VERDICT(REASON_NO_MATCH, ACTION_PASS)
				       : VERDICT(reason_of(rule), ACTION_PASS);
	return CONTINUE;
}

/* Stage 4: what the DNS header decides; leaves the length of the question's name. */
static __always_inline __u64 by_header(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 traits = scratch_get(scratch, traits);
	__u64 rule = scratch_get(scratch, rule);
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	const __u8 *end = frame_end(ctx);
	const struct dns_header *dns;
	bool hides_question;
	__u64 name_length;

	opaque(transport);
	dns = (const struct dns_header *)(frame_start(ctx) + transport + UDP_HEADER);
	if ((const __u8 *)(dns + 1) > end)
		return VERDICT(REASON_MALFORMED, ACTION_DROP);
	if (dns->flags_high & DNS_QR)
		return VERDICT(rule == NO_RULE ? REASON_NO_MATCH : REASON_RESPONSE, ACTION_PASS);
	if (dns->flags_high & DNS_OPCODE && rule != NO_RULE)
		return VERDICT(REASON_OPCODE, ACTION_PASS);
	name_length = dns_name_length((const __u8 *)(dns + 1), end);
	scratch_put(scratch, name_length, name_length);
	if (rule != NO_RULE)
		return CONTINUE;
	name_length = scratch_get(scratch, name_length);
	hides_question = (traits & TRAIT_PORT) && (traits & TRAIT_FIRST_FRAGMENT);
	if (!name_length)
		return hides_question ? VERDICT(REASON_FRAGMENT, ACTION_DROP)
				      : VERDICT(REASON_NO_MATCH, ACTION_PASS);
	if (dns->flags_high & DNS_OPCODE || !dns->qdcount_be)
		return VERDICT(REASON_NO_MATCH, ACTION_PASS);
	return CONTINUE;
}

/* Stage 5: rules by question, where no rule by source was hit. */
static __always_inline __u64 by_question(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 rule = scratch_get(scratch, rule);

	if (rule != NO_RULE)
		return CONTINUE;
	rule = question_rule(ctx, scratch);
	scratch_put(scratch, rule, rule);
	rule = scratch_get(scratch, rule);
	if (rule == NO_RULE)
		return VERDICT(REASON_NO_MATCH, ACTION_PASS);
	return action_of(rule) == RULE_TRUNCATE ? CONTINUE : rule;
}

/* The stages in their order. ACTION_PASS: on to whom it is for. */
static __always_inline __u64 judge(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 verdict;

	if (CONFIG_XSK) {
		verdict = destination(ctx, scratch);
		if (verdict != CONTINUE)
			return verdict;
	}
	verdict = by_source(ctx, scratch);
	if (verdict != CONTINUE)
		return verdict;
	verdict = by_header(ctx, scratch);
	if (verdict != CONTINUE)
		return verdict;
	verdict = by_question(ctx, scratch);
	if (verdict != CONTINUE)
		return verdict;
	if (!answer(ctx, scratch))
		return VERDICT(REASON_UNANSWERABLE, ACTION_DROP);
	return VERDICT(reason_of(scratch_get(scratch, rule)), ACTION_TRUNCATE);
}

/* Whether dnsdist takes such a frame from its socket; the others it discards unseen. */
static __always_inline bool is_eligible(struct xdp_md *ctx, const struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	__u64 traits = scratch_get(scratch, traits);
	const __u8 *start = frame_start(ctx);
	const __u8 *end = frame_end(ctx);
	__u64 length = end - start;
	const struct udp_header *udp = (const struct udp_header *)(start + transport);
	__u64 ip_length;

	if (traits & TRAITS_NO_XSK || length > XSK_FRAME_MAX)
		return false;
	if ((const __u8 *)(udp + 1) > end || be16(udp->length_be) != length - transport)
		return false;
	if (traits & TRAIT_IPV6) {
		const struct ipv6_header *ip = (const struct ipv6_header *)(start + network);

		if ((const __u8 *)(ip + 1) > end)
			return false;
		ip_length = IPV6_HEADER + be16(ip->payload_length_be);
	} else {
		const struct ipv4_header *ip = (const struct ipv4_header *)(start + network);

		if ((const __u8 *)(ip + 1) > end)
			return false;
		ip_length = be16(ip->total_length_be);
	}
	return length == network + ip_length;
}

/* The last stage, with AF_XDP: a packet that may go on goes to its socket. */
static __always_inline __u64 deliver(struct xdp_md *ctx, struct scratch *scratch, __u64 verdict)
{
	__u64 traits = scratch_get(scratch, traits);
	bool decided = reason_of(verdict) != REASON_NO_MATCH;

	if (traits & TRAIT_PORT ? !is_destination(ctx, scratch) : !(traits & TRAIT_DESTINATION))
		return verdict;
	if (!is_eligible(ctx, scratch))
		return decided ? verdict : VERDICT(REASON_XSK_INELIGIBLE, ACTION_PASS);
	return VERDICT(decided ? reason_of(verdict) : REASON_REDIRECT,
		       redirect_to_queue(ctx) == XDP_REDIRECT ? ACTION_REDIRECT : ACTION_PASS);
}

static __always_inline __u64 decide(struct xdp_md *ctx)
{
	const struct control *control = map_value(MAP_CONTROL);
	struct scratch *scratch;
	__u64 verdict;

	if (*(volatile const __u32 *)&control->panic)
		return VERDICT(REASON_PANIC, ACTION_PASS);
	verdict = way_in(ctx, &scratch);
	if (verdict != CONTINUE)
		return verdict;
	verdict = judge(ctx, scratch);
	if (CONFIG_XSK && action_of(verdict) == ACTION_PASS) {
		scratch_put(scratch, rule, verdict);
		verdict = deliver(ctx, scratch, scratch_get(scratch, rule));
	}
	return verdict;
}

/* The one exit: counts the packet and gives the kernel's code. */
static __always_inline int count(__u64 verdict, __u64 bytes)
{
	__u32 zero = 0;
	struct counters *counters = map_lookup(MAP_COUNTERS, &zero);

	if (counters) {
		struct counter *cell = &counters->cell[0][0] + (verdict & VERDICT_MASK);

		cell->packets++;
		cell->bytes += bytes;
	}
	return xdp_code(verdict);
}

int xdpctl_filter(struct xdp_md *ctx)
{
	__u64 bytes = frame_end(ctx) - frame_start(ctx);

	opaque(bytes); /* one number from here on, not two pointers to be subtracted at the end */
	return count(decide(ctx), bytes);
}
