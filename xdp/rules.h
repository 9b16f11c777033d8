/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The rules: looks them up by source and by question, counts a hit at once, and
 * returns the verdict that the rule asks for, or NO_RULE.
 */
#ifndef XDPCTL_RULES_H
#define XDPCTL_RULES_H

#include "empty_maps.h"
#include "name_index.h"
#include "packet.h"

/*
 * A key of cidr6 as it lies on the stack. The trie reads the address in two words, which
 * would wait for the stores if these were shorter; so it is aligned to be stored in two.
 */
struct aligned_cidr6_key {
	__u32 unused;
	struct cidr6_key key;
} __attribute__((aligned(8)));

/* Counts a hit at once and returns the verdict that the rule asks for. */
static __always_inline __u64 hit(struct rule_value *rule, enum reason reason)
{
	__u64 action = *(volatile __u8 *)&rule->action;

	__sync_fetch_and_add(&rule->hits, 1);
	if (action > RULE_TRUNCATE)
		action = RULE_PASS;
	return VERDICT(reason, action);
}

static __always_inline __u64 ipv4_source_rule(const struct ipv4_header *ip, __u64 empty)
{
	struct cidr4_key prefix = {.prefixlen = 32};
	struct rule_value *rule;

	if (!(empty & EMPTY_BIT(MAP_ADDR_V4))) {
		struct addr_v4_key address = {be32(ip->saddr_be)};

		rule = map_lookup(MAP_ADDR_V4, &address);
		if (rule)
			return hit(rule, REASON_ADDR_V4);
	}
	if (!(empty & EMPTY_BIT(MAP_CIDR4))) {
		store32(prefix.saddr_be, ip->saddr_be);
		rule = map_lookup(MAP_CIDR4, &prefix);
		if (rule)
			return hit(rule, REASON_CIDR4);
	}
	return NO_RULE;
}

static __always_inline __u64 ipv6_source_rule(const struct ipv6_header *ip, __u64 empty)
{
	struct rule_value *rule;

	if (!(empty & EMPTY_BIT(MAP_ADDR_V6))) {
		rule = map_lookup(MAP_ADDR_V6, ip->saddr_be);
		if (rule)
			return hit(rule, REASON_ADDR_V6);
	}
	if (!(empty & EMPTY_BIT(MAP_CIDR6))) {
		struct aligned_cidr6_key prefix = {.key.prefixlen = 128};

		store64(prefix.key.saddr_be, load64(ip->saddr_be));
		store64(prefix.key.saddr_be + 8, load64(ip->saddr_be + 8));
		rule = map_lookup(MAP_CIDR6, &prefix.key);
		if (rule)
			return hit(rule, REASON_CIDR6);
	}
	return NO_RULE;
}

/* Exact address, then longest prefix. Writes to the scratch which maps are empty. */
static __always_inline __u64 source_rule(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	const __u8 *ip = frame_start(ctx) + network;
	const __u8 *end = frame_end(ctx);
	__u64 empty;

	if (scratch_get(scratch, traits) & TRAIT_IPV6) {
		empty = empty_among(EMPTY_BIT(MAP_ADDR_V6) | EMPTY_BIT(MAP_CIDR6) |
				    EMPTY_BIT(MAP_QNAMES));
		scratch_put(scratch, empty, empty);
		empty = scratch_get(scratch, empty);
		return ip + IPV6_HEADER <= end
			       ? ipv6_source_rule((const struct ipv6_header *)ip, empty)
			       : NO_RULE;
	}
	empty = empty_among(EMPTY_BIT(MAP_ADDR_V4) | EMPTY_BIT(MAP_CIDR4) | EMPTY_BIT(MAP_QNAMES));
	scratch_put(scratch, empty, empty);
	empty = scratch_get(scratch, empty);
	return ip + IPV4_HEADER_MIN <= end ? ipv4_source_rule((const struct ipv4_header *)ip, empty)
					   : NO_RULE;
}

/* The rule for the folded name in the scratch: its own type, then the wildcard types. */
static __always_inline __u64 name_rule(struct scratch *scratch, __u16 qtype, __u64 lookups)
{
	struct rule_value *rule = NULL;

	if (lookups & LOOKUP_OWN) {
		scratch->key.qtype = qtype;
		rule = map_lookup(MAP_QNAMES, &scratch->key);
	}
	if (CONFIG_QTYPE_65535 && !rule && lookups & LOOKUP_65535) {
		scratch->key.qtype = 65535;
		rule = map_lookup(MAP_QNAMES, &scratch->key);
	}
	if (CONFIG_QTYPE_255 && !rule && lookups & LOOKUP_255) {
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
	__u64 lookups;
	__u16 qtype;

	if (type + sizeof(qtype) > end)
		return NO_RULE;
	qtype = be16(load16(type));
	lookups = lookups_needed(dns, end, name_length, qtype);
	scratch_put(scratch, lookups, lookups);
	lookups = scratch_get(scratch, lookups);
	if (!lookups || !dns_fold_name(scratch, dns, end, name_length))
		return NO_RULE;
	return name_rule(scratch, qtype, lookups);
}

#endif
