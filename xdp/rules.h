/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The rules: looks them up by source and by question, counts a hit at once, and
 * returns the verdict that the rule asks for, or NO_RULE.
 */
#ifndef XDPCTL_RULES_H
#define XDPCTL_RULES_H

#include "empty_maps.h"
#include "list_sources.h"
#include "name_index.h"
#include "packet.h"
#include "zones.h"

/* Counts a hit at once and returns the verdict that the rule asks for. */
static __always_inline __u64 hit(struct rule_value *rule, enum reason reason)
{
	__u64 action = *(volatile __u8 *)&rule->action;

	__sync_fetch_and_add(&rule->hits, 1);
	if (!seldom(action != RULE_DROP))
		return VERDICT(reason, ACTION_DROP);
	return action == RULE_TRUNCATE ? VERDICT(reason, ACTION_TRUNCATE)
				       : VERDICT(reason, ACTION_PASS);
}

#define EMPTY_FOR_V4 (EMPTY_BIT(MAP_ADDR_V4) | EMPTY_BIT(MAP_CIDR4) | EMPTY_BIT(MAP_QNAMES))
#define EMPTY_FOR_V6 (EMPTY_BIT(MAP_ADDR_V6) | EMPTY_BIT(MAP_CIDR6) | EMPTY_BIT(MAP_QNAMES))

/*
 * The shared rule for an IPv4 source: exact address, then longest prefix. Keys are written
 * in whole words of the stack: of words written in part, the verifier would take what was
 * there before for a difference.
 */
static __always_inline __u64 ipv4_shared_rule(const struct ipv4_header *ip, __u64 empty)
{
	__u32 saddr_be = ip->saddr_be;
	struct rule_value *rule;
	__u64 key;

	if (!(empty & EMPTY_BIT(MAP_ADDR_V4))) {
		key = TWO_HALVES(be32(saddr_be), 0);
		rule = map_lookup(MAP_ADDR_V4, &key);
		if (rule)
			return hit(rule, REASON_ADDR_V4);
	}
	if (!(empty & EMPTY_BIT(MAP_CIDR4))) {
		key = TWO_HALVES(32, saddr_be);
		rule = map_lookup(MAP_CIDR4, &key);
		if (rule)
			return hit(rule, REASON_CIDR4);
	}
	return NO_RULE;
}

/* The same. The key of the trie begins with the second half of its first word. */
static __always_inline __u64 ipv6_shared_rule(const struct ipv6_header *ip, __u64 empty)
{
	struct rule_value *rule;
	__u64 key[3];

	if (!(empty & EMPTY_BIT(MAP_ADDR_V6))) {
		rule = map_lookup(MAP_ADDR_V6, ip->saddr_be);
		if (rule)
			return hit(rule, REASON_ADDR_V6);
	}
	if (!(empty & EMPTY_BIT(MAP_CIDR6))) {
		key[0] = TWO_HALVES(0, 128);
		key[1] = load64(ip->saddr_be);
		key[2] = load64(ip->saddr_be + 8);
		rule = map_lookup(MAP_CIDR6, (const __u8 *)key + sizeof(__u32));
		if (rule)
			return hit(rule, REASON_CIDR6);
	}
	return NO_RULE;
}

/*
 * The shared rule for any packet's source, as the scratch describes it. Writes to the scratch
 * which shared maps are empty.
 */
static __always_inline __u64 shared_source_rule(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	const __u8 *ip = frame_start(ctx) + network;
	const __u8 *end = frame_end(ctx);
	__u64 empty;

	if (scratch_get(scratch, traits) & TRAIT_IPV6) {
		empty = empty_among(EMPTY_FOR_V6);
		scratch_put(scratch, empty, empty);
		if (ip + sizeof(struct ipv6_header) > end)
			return NO_RULE;
		return ipv6_shared_rule((const struct ipv6_header *)ip,
					scratch_get(scratch, empty));
	}
	empty = empty_among(EMPTY_FOR_V4);
	scratch_put(scratch, empty, empty);
	if (ip + sizeof(struct ipv4_header) > end)
		return NO_RULE;
	return ipv4_shared_rule((const struct ipv4_header *)ip, scratch_get(scratch, empty));
}

/* The rule of lists for the packet's source. */
static __always_inline __u64 list_source_rule(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	const __u8 *ip = frame_start(ctx) + network;
	const __u8 *end = frame_end(ctx);

	if (scratch_get(scratch, traits) & TRAIT_IPV6) {
		if (ip + sizeof(struct ipv6_header) > end)
			return NO_RULE;
		return ipv6_list_rule(scratch, table_head(), (const struct ipv6_header *)ip);
	}
	if (ip + sizeof(struct ipv4_header) > end)
		return NO_RULE;
	return ipv4_list_rule(scratch, table_head(), (const struct ipv4_header *)ip);
}

/* Whether there may be a rule for any question. */
static __always_inline bool has_question_rules(const struct scratch *scratch)
{
	return !(scratch_get(scratch, empty) & EMPTY_BIT(MAP_QNAMES)) ||
	       (CONFIG_TABLES && has_name_rules(table_head()));
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

/* The rule in qnames for the question whose name has `name_length` octets. */
static __always_inline __u64 shared_question_rule(struct xdp_md *ctx, struct scratch *scratch)
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

/* The rule in our own tables for the same question. */
static __always_inline __u64 table_question_rule(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 name_length = scratch_get(scratch, name_length);
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	const __u8 *name = frame_start(ctx) + transport + UDP_HEADER + DNS_HEADER;
	struct name_text text = {name, frame_end(ctx), true};
	const struct table_head *head = table_head();
	const __u8 *type = name + name_length;

	if (!has_name_rules(head) || type + sizeof(__u16) > text.end)
		return NO_RULE;
	return zone_rule(scratch, head, text, be16(load16(type)));
}

/* The rule for the question: of the shared map, then zones, then lists. */
static __always_inline __u64 question_rule(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 rule = NO_RULE;

	if (!CONFIG_TABLES)
		return shared_question_rule(ctx, scratch);
	if (!(scratch_get(scratch, empty) & EMPTY_BIT(MAP_QNAMES)))
		rule = shared_question_rule(ctx, scratch);
	scratch_put(scratch, rule, rule);
	rule = scratch_get(scratch, rule);
	return rule != NO_RULE ? rule : table_question_rule(ctx, scratch);
}

#endif
