/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The rules: looked up by source and by question, counted at once, given back as
 * the verdict that they ask for, or NO_RULE.
 */
#ifndef XDPCTL_RULES_H
#define XDPCTL_RULES_H

#include "dns.h"
#include "packet.h"

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

/* The look-ups for one name, in their order; an entry of a wildcard type is every type's. */
enum name_lookup {
	LOOKUP_OWN = 1 << 0,
	LOOKUP_65535 = 1 << 1,
	LOOKUP_255 = 1 << 2,
};

/* All that this configuration has for a type, no key twice. */
static __always_inline __u64 all_lookups(__u16 qtype)
{
	__u64 lookups = LOOKUP_OWN;

	if (CONFIG_QTYPE_65535 && qtype != 65535)
		lookups |= LOOKUP_65535;
	if (CONFIG_QTYPE_255 && qtype != 255)
		lookups |= LOOKUP_255;
	return lookups;
}

/* Whether a key of the name with this hash and of this type may be in the map. */
static __always_inline __u64 may_be_there(__u64 word, __u64 hash, __u16 qtype)
{
	__u64 place = (__u32)(qtype * INDEX_TYPE) >> 26;

	return word >> ((hash >> (64 - INDEX_WORD_BITS - 6) ^ place) & 63) & 1;
}

/*
 * The look-ups that cannot be left out: what the index does not rule out, or all
 * of them where it has no say, as its heartbeat is too old, 0, or in the future.
 */
static __always_inline __u64 lookups_needed(const __u8 *dns, const __u8 *end, __u64 name_length,
					    __u16 qtype)
{
	volatile struct name_index *index = map_value(MAP_NAME_INDEX);
	__u64 heartbeat = index->heartbeat;
	__u64 now = jiffies();
	__u64 lookups = all_lookups(qtype);
	__u64 needed = 0;
	__u64 hash;
	__u64 place;
	__u64 word;

	if (index->asked != now)
		index->asked = now;
	if (now - (heartbeat >> 1) > index->fresh)
		return lookups;
	if (!dns_sum_name(dns, end, name_length, &hash))
		return lookups;
	hash = (hash ^ hash >> 32) * INDEX_MIX;
	place = (heartbeat & 1) << INDEX_WORD_BITS | hash >> (64 - INDEX_WORD_BITS);
	opaque(place);
	word = index->words[place & (2 * INDEX_WORDS - 1)];
	if (may_be_there(word, hash, qtype))
		needed |= LOOKUP_OWN;
	if (CONFIG_QTYPE_65535 && may_be_there(word, hash, 65535))
		needed |= LOOKUP_65535;
	if (CONFIG_QTYPE_255 && may_be_there(word, hash, 255))
		needed |= LOOKUP_255;
	return needed & lookups;
}

/* The name that lies folded in the scratch: own type, then the wildcards. */
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
