/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The filter: the stages in their order, one exit that counts. Each stage
 * returns a verdict or CONTINUE. The service compiles this file at start, with
 * the lines of its configuration before it (config.h), and for tests it is
 * compiled for the host as well.
 */
#include "answer.h"
#include "rules.h"
#include "xsk.h"

/* UDP with plain DNS in it, whose question may be looked at. */
#define TRAITS_DNS (TRAIT_PORT | TRAIT_DESTINATION)

/* Stage 1: what is filtered, whole to its DNS header; leaves in the scratch what was found out. */
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
		if (is_port(port)) {
			packet.traits |= TRAIT_FILTERED;
			if (seldom(packet.traits & TRAIT_RAGGED))
				return DROP_FRAGMENT;
			if (packet.traits & TRAIT_UDP) {
				if (!cursor_at(&cursor, UDP_HEADER + DNS_HEADER) ||
				    is_cut_off(packet.traits, packet.end,
					       packet.transport + UDP_HEADER + DNS_HEADER))
					return VERDICT(REASON_MALFORMED, ACTION_DROP);
				packet.traits |= TRAIT_PORT;
			}
		} else if (is_address_port(port)) {
			if (seldom(packet.traits & TRAIT_RAGGED))
				return DROP_FRAGMENT;
			packet.traits |= TRAIT_FILTERED;
		}
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
	if (seldom(packet.traits & TRAIT_FIRST_FRAGMENT))
		scratch_put(scratch, end, packet.end);
	*found = scratch;
	return CONTINUE;
}

/* Stage 3: rules by source, and what they decide without a look at the question. */
static __always_inline __u64 by_source(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 traits = scratch_get(scratch, traits);
	__u64 rule = source_rule(ctx, scratch);

	if (action_of(rule) == RULE_DROP)
		return rule;
	scratch_put(scratch, rule, rule);
	rule = scratch_get(scratch, rule);
	if (rule != NO_RULE && action_of(rule) != RULE_TRUNCATE)
		return rule;
	if (!(traits & TRAITS_DNS))
		return rule == NO_RULE ? VERDICT(REASON_NO_MATCH, ACTION_PASS)
				       : VERDICT(reason_of(rule), ACTION_PASS);
	return CONTINUE;
}

/* Stage 4: what the DNS header and the name decide; leaves the length of the question's name. */
static __always_inline __u64 by_header(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 traits = scratch_get(scratch, traits);
	__u64 rule = scratch_get(scratch, rule);
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	const __u8 *end = frame_end(ctx);
	const struct dns_header *dns;
	struct dns_name name;
	bool is_query;
	__u64 length;
	__u64 left;

	opaque(transport);
	dns = (const struct dns_header *)(frame_start(ctx) + transport + UDP_HEADER);
	if ((const __u8 *)(dns + 1) > end)
		return VERDICT(REASON_MALFORMED, ACTION_DROP);
	if (dns->flags_high & DNS_QR)
		return VERDICT(rule == NO_RULE ? REASON_NO_MATCH : REASON_RESPONSE, ACTION_PASS);
	is_query = (dns->flags_high & DNS_OPCODE_PAIR) != DNS_NOTIFY_UPDATE;
	if (!is_query && rule != NO_RULE)
		return VERDICT(REASON_OPCODE, ACTION_PASS);
	left = end - (const __u8 *)(dns + 1);
	if (seldom(traits & TRAIT_FIRST_FRAGMENT))
		left = scratch_get(scratch, end) - transport - UDP_HEADER - DNS_HEADER;
	name = dns_walk_name((const __u8 *)(dns + 1), end);
	length = dns_name_length(name, left);
	scratch_put(scratch, name_length, length);
	if (rule != NO_RULE)
		return CONTINUE;
	is_query = is_query && dns->qdcount_be;
	length = scratch_get(scratch, name_length);
	if (seldom(!length)) {
		if (is_query && dns_is_pointer(name, left))
			return VERDICT(REASON_MALFORMED, ACTION_DROP);
		return (traits & TRAIT_PORT) && (traits & TRAIT_FIRST_FRAGMENT)
			       ? DROP_FRAGMENT
			       : VERDICT(REASON_NO_MATCH, ACTION_PASS);
	}
	if (!is_query || scratch_get(scratch, empty) & EMPTY_BIT(MAP_QNAMES))
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

/* From panic to the verdict. */
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
