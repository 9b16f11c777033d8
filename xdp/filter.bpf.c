/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The filter: stages in a fixed order, and one exit that counts. Each stage
 * returns a verdict or CONTINUE; the first verdict ends the walk.
 *
 *   run_stages             panic: while it is set, every packet passes
 *     1 classify           headers, ports, fragments: is the packet to be filtered? (packet.h)
 *                          For nearly every packet plain.h is enough, which also asks the
 *                          shared rules for its source, unless there are exempt prefixes
 *     decide
 *       apply_rules
 *         2 destination    AF_XDP only: UDP to other ports that are registered (xsk.h)
 *         3 is_exempt      if there are exempt prefixes: they pass (exempt.h)
 *         4 by_source      rules for the source address (rules.h, list_sources.h)
 *         5 by_header      the DNS header, and the length of the question's name (dns.h)
 *         6 by_question    rules for the name and type (rules.h, name_index.h, zones.h)
 *       7 limit            if there are limits: in total, by source, by zone (limits.h)
 *       8 answer           a rule or limit says Truncate: send the TC=1 answer (answer.h)
 *     9 deliver            AF_XDP only: a packet that passes goes to its socket (xsk.h)
 *   count                  the exit: counts the packet, perhaps takes it as a sample
 *                          (samples.h), returns the kernel's code
 *
 * The service compiles this file at start, with the lines of its configuration
 * before it (config.h). Tests also compile it for the host.
 */
#include "answer.h"
#include "exempt.h"
#include "limits.h"
#include "plain.h"
#include "proof.h"
#include "rules.h"
#include "xsk.h"

/* UDP that carries plain DNS, so that its question can be read. */
#define TRAITS_DNS (TRAIT_PORT | TRAIT_DESTINATION)

/* Parses any packet, and decides whether it is filtered and whole up to its DNS header. */
static __always_inline __u64 classify_any(struct xdp_md *ctx, struct cursor *cursor,
					  struct packet *packet)
{
	__u16 port;
	__u64 verdict = parse_packet(cursor, packet, &port);

	if (verdict != CONTINUE)
		return verdict;
	if (CONFIG_PROOF && !CONFIG_TCP &&
	    !(packet->traits & TRAIT_UDP)) { /* only its proof is wanted */
		if (!is_port(port) || !(packet->traits & TRAIT_ADDRESS))
			return PASS_OTHER;
		packet->traits |= TRAIT_CONNECTION;
		return CONTINUE;
	}
	if (packet->traits & TRAIT_ADDRESS) {
		if (is_port(port)) {
			packet->traits |= TRAIT_FILTERED;
			if (seldom(packet->traits & TRAIT_RAGGED))
				return DROP_FRAGMENT;
			if (packet->traits & TRAIT_UDP) {
				if (!cursor_at(cursor, UDP_HEADER + DNS_HEADER) ||
				    is_cut_off(packet->traits, packet->end,
					       packet->transport + UDP_HEADER + DNS_HEADER))
					return no_dns_header(
						is_cut_by_buffer(ctx, packet->traits, packet->end));
				packet->traits |= TRAIT_PORT;
			} else if (CONFIG_PROOF) {
				packet->traits |= TRAIT_CONNECTION;
			}
		} else if (is_address_port(port)) {
			if (seldom(packet->traits & TRAIT_RAGGED))
				return DROP_FRAGMENT;
			packet->traits |= TRAIT_FILTERED;
		}
	}
	if (!(packet->traits & TRAIT_FILTERED)) {
		if (!(packet->traits & TRAIT_UDP))
			return PASS_OTHER;
		if (!(packet->traits & TRAIT_IPV6 ? CONFIG_XSK_V6 : CONFIG_XSK_V4))
			return PASS_OTHER;
	}
	return CONTINUE;
}

/* TRAIT_BUFFERS if the frame is larger than its first buffer, without a branch. */
static __always_inline __u64 trait_buffers(const struct xdp_md *ctx, __u64 size)
{
	return ((first_buffer(ctx) - size) >> 63) * TRAIT_BUFFERS;
}

/* Writes what later stages need of a packet to the scratch. Returns CONTINUE. */
static __always_inline __u64 keep(const struct packet *packet, struct scratch **found)
{
	struct scratch *scratch = scratch_of_cpu();

	if (!scratch)
		return PASS_OTHER;
	scratch_put(scratch, network, packet->network);
	scratch_put(scratch, transport, packet->transport);
	scratch_put(scratch, traits, packet->traits);
	scratch_put(scratch, end, packet->end);
	scratch_put(scratch, empty, packet->empty);
	scratch_put(scratch, rule, packet->rule);
	*found = scratch;
	return CONTINUE;
}

/*
 * Stage 1: parses the packet. The ways of plain packets and of others meet when all is in the
 * scratch: before that, the verifier would take each value of one way for a difference.
 */
static __always_inline __u64 classify(struct xdp_md *ctx, __u64 size, struct scratch **found)
{
	struct cursor cursor = {frame_start(ctx), frame_end(ctx), 0, size};
	struct packet packet = {.traits = trait_buffers(ctx, size)};
	__u64 verdict = ask_plain(&cursor, &packet);

	if (verdict == CONTINUE) {
		verdict = keep(&packet, found);
		opaque(verdict);
		return verdict;
	}
	if (verdict != NOT_PLAIN)
		return verdict;
	verdict = classify_any(ctx, &cursor, &packet);
	return verdict == CONTINUE ? keep(&packet, found) : verdict;
}

/* Stage 4: rules by source, and the verdicts that do not depend on the question. */
static __always_inline __u64 by_source(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 rule;

	if (CONFIG_PROOF && !CONFIG_TCP && scratch_get(scratch, traits) & TRAIT_CONNECTION) {
		prove_by_tcp(ctx, scratch);
		return PASS_OTHER;
	}
	if (!ASKS_PLAIN || !(scratch_get(scratch, traits) & TRAIT_ASKED))
		scratch_put(scratch, rule, shared_source_rule(ctx, scratch));
	rule = scratch_get(scratch, rule);
	if (CONFIG_TABLES && rule == NO_RULE)
		rule = list_source_rule(ctx, scratch);
	if (rule != NO_RULE && action_of(rule) != RULE_TRUNCATE)
		return rule;
	scratch_put(scratch, rule, rule);
	rule = scratch_get(scratch, rule);
	if (scratch_get(scratch, traits) & TRAITS_DNS)
		return CONTINUE;
	if (CONFIG_PROOF && scratch_get(scratch, traits) & TRAIT_CONNECTION)
		prove_by_tcp(ctx, scratch);
	return VERDICT(rule == NO_RULE ? REASON_NO_MATCH : reason_of(rule), ACTION_PASS);
}

/* Stage 5: verdicts by DNS header and name; writes the length of the question's name. */
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
	name = dns_walk_name((const __u8 *)(dns + 1), end, CONFIG_NAME_STARTS ? scratch : NULL);
	length = dns_name_length(name, left);
	scratch_put(scratch, name_length, length);
	if (rule != NO_RULE)
		return CONTINUE;
	is_query = is_query && dns->qdcount_be;
	length = scratch_get(scratch, name_length);
	if (seldom(!length)) {
		bool hides = (traits & TRAIT_PORT) && (traits & TRAIT_FIRST_FRAGMENT);

		if (is_query && dns_is_pointer(name, left))
			return VERDICT(REASON_MALFORMED, ACTION_DROP);
		if ((is_query || hides) && dns_is_cut(name, (const __u8 *)(dns + 1), end, left) &&
		    is_cut_by_buffer(ctx, traits, scratch_get(scratch, end)))
			return PASS_OTHER;
		return hides ? DROP_FRAGMENT : UNDECIDED;
	}
	if (!is_query || !has_question_rules(scratch))
		return UNDECIDED;
	return CONTINUE;
}

/* Stage 6: rules by question, if no rule by source was hit. */
static __always_inline __u64 by_question(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 rule = scratch_get(scratch, rule);

	if (rule != NO_RULE)
		return CONTINUE;
	rule = question_rule(ctx, scratch);
	scratch_put(scratch, rule, rule);
	rule = scratch_get(scratch, rule);
	if (rule == NO_RULE)
		return UNDECIDED;
	return action_of(rule) == RULE_TRUNCATE ? CONTINUE : rule;
}

/* Whether the packet is filtered, and not a TCP segment of which only a proof is wanted. */
static __always_inline bool is_looked_at(const struct scratch *scratch)
{
	return CONFIG_TCP || !CONFIG_PROOF || !(scratch_get(scratch, traits) & TRAIT_CONNECTION);
}

/* Stages 2 to 6 in their order. */
static __always_inline __u64 apply_rules(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 verdict;

	if (CONFIG_XSK) {
		verdict = destination(ctx, scratch);
		if (verdict != CONTINUE)
			return verdict;
	}
	if (CONFIG_EXEMPT && is_looked_at(scratch) && is_exempt(ctx, scratch))
		return VERDICT(REASON_EXEMPT, ACTION_PASS);
	if (CONFIG_SOURCE_LIMITS)
		find_accounts(ctx, scratch);
	verdict = by_source(ctx, scratch);
	if (verdict != CONTINUE)
		return verdict;
	verdict = by_header(ctx, scratch);
	if (verdict != CONTINUE)
		return verdict;
	return by_question(ctx, scratch);
}

/* The verdict of a packet that was to be answered, and cannot be. */
static __always_inline __u64 unanswered(const struct scratch *scratch)
{
	if (CONFIG_LIMITS && reason_of(scratch_get(scratch, rule)) >= REASON_LIMIT)
		return VERDICT(reason_of(scratch_get(scratch, rule)), ACTION_DROP);
	return VERDICT(REASON_UNANSWERABLE, ACTION_DROP);
}

/* Stages 2 to 8 in their order. A verdict with ACTION_PASS goes on to stage 9. */
static __always_inline __u64 decide(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 verdict = apply_rules(ctx, scratch);

	if (CONFIG_LIMITS) {
		scratch_put(scratch, verdict, verdict);
		if (scratch_get(scratch, verdict) == UNDECIDED)
			scratch_put(scratch, verdict, limit(ctx, scratch));
		verdict = scratch_get(scratch, verdict);
	}
	if (verdict != CONTINUE)
		return verdict;
	if (!answer(ctx, scratch))
		return unanswered(scratch);
	return VERDICT(reason_of(scratch_get(scratch, rule)), ACTION_TRUNCATE);
}

/* All stages, from panic to the verdict. */
static __always_inline __u64 run_stages(struct xdp_md *ctx, __u64 size)
{
	const struct control *control = map_value(MAP_CONTROL);
	struct scratch *scratch = NULL;
	__u64 verdict;

	if (*(volatile const __u32 *)&control->panic)
		return VERDICT(REASON_PANIC, ACTION_PASS);
	verdict = classify(ctx, size, &scratch);
	if (verdict != CONTINUE)
		return verdict;
	verdict = decide(ctx, scratch);
	if (CONFIG_XSK && action_of(verdict) == ACTION_PASS) {
		scratch_put(scratch, rule, verdict);
		verdict = deliver(ctx, scratch, scratch_get(scratch, rule));
	}
	return verdict;
}

/* The one exit: counts the packet and returns the kernel's code. An answer was sampled before. */
static __always_inline int count(struct xdp_md *ctx, __u64 verdict, __u64 bytes)
{
	__u32 zero = 0;
	struct counters *counters = map_lookup(MAP_COUNTERS, &zero);

	if (counters) {
		struct counter *cell = &counters->cell[0][0] + (verdict & VERDICT_MASK);

		cell->packets++;
		cell->bytes += bytes;
		if (CONFIG_SAMPLES && action_of(verdict) != ACTION_TRUNCATE) /* else it was */
			sample(ctx, counters, verdict);
	}
	return xdp_code(verdict);
}

int xdpctl_filter(struct xdp_md *ctx)
{
	__u64 size = whole_size(ctx);

	return count(ctx, run_stages(ctx, size), size);
}
