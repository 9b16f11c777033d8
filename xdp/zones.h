/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The rules for names in our own tables: zones of operators, names and zones of lists. The
 * question's name is walked from the root on, and the filter's word of each suffix says
 * whether it may have rules, and whether anything longer may have. Labels in front of the
 * longest suffix that is known cost nothing. The suffixes that may have rules are looked up
 * afterwards, the longest first.
 */
#ifndef XDPCTL_ZONES_H
#define XDPCTL_ZONES_H

#include "table_names.h"
#include "verdict.h"

/* The rules that a suffix may have, in the order in which they are asked for. */
enum where {
	LISTED_NAME_TYPED = 1 << 0, /* a list's exact name, for the question's own type */
	LISTED_NAME = 1 << 1,	    /* the same for every type */
	LISTED_ZONE_TYPED = 1 << 2, /* a list's zone */
	LISTED_ZONE = 1 << 3,
	OPERATOR_ZONE_TYPED = 1 << 4,
	OPERATOR_ZONE = 1 << 5,
	WHOLE_NAME = 1 << 8, /* the suffix is the question's name */
};

#define WHERE_LISTED   (LISTED_NAME_TYPED | LISTED_NAME | LISTED_ZONE_TYPED | LISTED_ZONE)
#define WHERE_OPERATOR (OPERATOR_ZONE_TYPED | OPERATOR_ZONE)
#define WHERE_TYPED    (LISTED_NAME_TYPED | LISTED_ZONE_TYPED | OPERATOR_ZONE_TYPED)
#define WHERE_ANY      (WHERE_LISTED | WHERE_OPERATOR)
#define WHERE_NAME     (LISTED_NAME_TYPED | LISTED_NAME)
#define CANDIDATES_MAX 18 /* the root, 16 labels, and the whole name */
#define WHERE_DEPTH    16 /* shift of the number of a candidate's labels */
#define FIND_STEPS     75 /* 35 in the one book, 36 in the other, the next book, and AGAIN */

/* Whether there is any rule in name-table. */
static __always_inline bool has_name_rules(const struct table_head *head)
{
	return head_get(head, names) & (NAMES_OPERATOR | NAMES_LISTS);
}

/* The rules that any name may have, by the head's word. */
static __always_inline __u64 possible_rules(__u64 state)
{
	__u64 possible = 0;

	if (state & NAMES_LISTS)
		possible |= WHERE_LISTED;
	if (state & NAMES_OPERATOR)
		possible |= WHERE_OPERATOR;
	if (!(state & NAMES_TYPED))
		possible &= ~(__u64)WHERE_TYPED;
	return possible;
}

/* The rules that a suffix may have, by its word in the filter; `place`: of the type, or 0. */
static __always_inline __u64 rules_in(__u64 word, struct sums sums, __u64 place, bool whole)
{
	__u64 found = 0;

	if (seldom(word_has(word, BIT_ZONE(sums) ^ place))) {
		found = word_has(word, BIT_LISTED(sums) ^ place) * LISTED_ZONE;
		found |= word_has(word, BIT_OWN(sums) ^ place) * OPERATOR_ZONE;
	}
	if (whole)
		found |= (word_has(word, BIT_SELF(sums) ^ place) &
			  word_has(word, BIT_SELF2(sums) ^ place)) *
			 LISTED_NAME;
	return found;
}

/* Notes a suffix that may have rules. */
static __always_inline void add_candidate(struct scratch *scratch, struct sums sums, __u64 where)
{
	__u64 count = scratch_get(scratch, count);

	if (count >= CANDIDATES_MAX)
		return;
	scratch->candidates[count].a = sums.a;
	scratch->candidates[count].b = sums.b;
	scratch->candidates[count].where = where;
	scratch_put(scratch, count, count + 1);
}

/*
 * Notes what a suffix may have, by its word in the filter. Returns whether any longer suffix
 * of the name may have more. `unit`: the number of the suffix's first label.
 */
static __always_inline bool look_at(struct scratch *scratch, const struct table_head *head,
				    __u64 state, struct sums sums, __u64 unit, __u16 qtype)
{
	const __u64 *there = value_at(MAP_NAME_FILTER, filter_number(sums, state), scratch);
	__u64 found;
	__u64 word;

	if (!there)
		return false;
	word = *(const volatile __u64 *)there;
	if (!word_has(word, BIT_HERE(sums)))
		return false;
	found = rules_in(word, sums, 0, !unit);
	opaque(state); /* asked anew, else the verifier walks on for each answer */
	if (seldom(state & NAMES_TYPED))
		found |= rules_in(word, sums, type_place(head, qtype), !unit) >> 1;
	if (seldom(found)) {
		found &= possible_rules(state);
		if (found) {
			if (CONFIG_SAMPLES)
				found |= (scratch_get(scratch, labels) - unit) << WHERE_DEPTH;
			add_candidate(scratch, sums, unit ? found : found | WHOLE_NAME);
		}
	}
	return unit && word_has(word, BIT_DEEPER(sums));
}

/*
 * Walks the name of the question, and writes the candidates among its suffixes to the
 * scratch, the shortest first. The filter's word of the last label is of use only if there
 * are rules for names of one label.
 */
static __always_inline void find_candidates(struct scratch *scratch, const struct table_head *head,
					    struct name_text text, __u16 qtype)
{
	__u64 state = head_get(head, names);
	struct name_walk walk = {.sums = {head->seed_a, head->seed_b}};
	__u64 labels = scratch_get(scratch, labels);
	__u64 unit = labels - 1;

	scratch_put(scratch, count, 0);
	if (seldom(state & NAMES_ROOT))
		add_candidate(scratch, walk.sums,
			      labels ? possible_rules(state) & ~(__u64)WHERE_NAME
				     : possible_rules(state) | WHOLE_NAME);
	if (!labels)
		return;
	scratch_put(scratch, looks, state & NAMES_TOP ? labels : labels - 1);
	scratch_put(scratch, unit, unit);
	walk.stop = (scratch_get(scratch, name_length) - 1) & 255;
	walk.start = scratch->starts[unit & 127];
	for (__u64 i = 0; i < NAME_WORDS_MAX; i++) {
		enum walk_step step = walk_word(&walk, head, i, text);

		if (step == STEP_INSIDE)
			continue;
		if (step == STEP_OVERRUN)
			break;
		unit = scratch_get(scratch, unit);
		if (unit < scratch_get(scratch, looks)
			    ? !look_at(scratch, head, state, walk.sums, unit, qtype)
			    : !unit)
			break;
		walk.stop = scratch->starts[unit & 127];
		unit = next_unit(unit, scratch_get(scratch, labels));
		scratch_put(scratch, unit, unit);
		walk.start = scratch->starts[unit & 127];
	}
}

/*
 * Asks for one kind of rule that a suffix may have. Returns a verdict, or NO_RULE. Above
 * the whole name `.z` and `*.z` are alike: of both, Pass decides before Drop before Truncate;
 * one of them does not decide if the other may have been moving.
 */
static __always_inline __u64 ask_for(struct scratch *scratch, const struct table_head *head,
				     __u64 tag, __u64 kind, bool whole)
{
	__u64 moves = head_get(head, moves);
	__u64 book = scratch_get(scratch, book);
	struct bucket_pair pair;
	__u64 value;

	if (!buckets_of(MAP_NAME_TABLE, head_get(head, name_buckets), tag, scratch, &pair))
		return NO_RULE;
	tag |= book << TAG_BOOK | NAME_RULE_TAG(0, kind & WHERE_NAME ? ZONE_SELF : ZONE_ALL);
	scratch_put(scratch, tag, tag);
	tag = scratch_get(scratch, tag);
	value = find_value(pair, tag, scratch);
	if (!whole) {
		__u64 place = scratch_get(scratch, slot);
		__u64 below;

		tag ^= NAME_RULE_TAG(0, ZONE_ALL) ^ NAME_RULE_TAG(0, ZONE_BELOW);
		below = find_value(pair, tag, scratch);
		if (value & SLOT_USED &&
		    (!(below & SLOT_USED) || (value & SLOT_ACTION) <= (below & SLOT_ACTION)))
			scratch_put(scratch, slot, place);
		else
			value = below;
	}
	scratch_put(scratch, value, value);
	value = scratch_get(scratch, value) * (equals(moves, head_get(head, moves)) | whole);
	if (!(value & SLOT_USED))
		return NO_RULE;
	hit_found(pair, scratch);
	return VERDICT(REASON_ZONE + book * (REASON_LIST_NAME - REASON_ZONE), value & SLOT_ACTION);
}

/* The kinds of rules of a book. */
static __always_inline __u64 rules_of(__u64 book)
{
	return book == BOOK_LISTS ? WHERE_LISTED : WHERE_OPERATOR;
}

/*
 * The rule for the longest candidate that has one, or NO_RULE: first of the operator, for
 * all candidates, then of lists.
 */
static __always_inline __u64 candidates_rule(struct scratch *scratch, const struct table_head *head,
					     __u16 qtype)
{
	scratch_put(scratch, left, scratch_get(scratch, count));
	scratch_put(scratch, where, 0);
	scratch_put(scratch, book,
		    head_get(head, names) & NAMES_OPERATOR ? BOOK_OPERATOR : BOOK_LISTS);
	for (int i = 0; i < FIND_STEPS; i++) {
		__u64 moves = head_get(head, moves);
		__u64 left = scratch_get(scratch, left);
		struct sums sums;
		__u64 kind;
		__u64 rule;

		if (!(scratch_get(scratch, where) & WHERE_ANY)) { /* the next candidate */
			if (!left) {				  /* the next book */
				if (scratch_get(scratch, book) == BOOK_LISTS)
					break;
				scratch_put(scratch, book, BOOK_LISTS);
				scratch_put(scratch, left, scratch_get(scratch, count));
				continue;
			}
			scratch_put(scratch, left, left - 1);
			left = scratch_get(scratch, left);
			if (left >= CANDIDATES_MAX)
				break;
			scratch_put(scratch, where,
				    scratch->candidates[left].where &
					    (WHOLE_NAME | rules_of(scratch_get(scratch, book))));
		}
		kind = scratch_get(scratch, where) & WHERE_ANY;
		if (!kind)
			continue;
		left = scratch_get(scratch, left);
		if (left >= CANDIDATES_MAX)
			break;
		sums.a = scratch->candidates[left].a;
		sums.b = scratch->candidates[left].b;
		kind &= -kind;
		if (kind & WHERE_TYPED)
			sums = typed_sums(sums, head, qtype);
		rule = ask_for(scratch, head, tag_of(sums), kind,
			       scratch_get(scratch, where) & WHOLE_NAME);
		if (rule != NO_RULE) {
			if (CONFIG_SAMPLES)
				scratch_put(scratch, depth,
					    scratch->candidates[left].where >> WHERE_DEPTH);
			return rule;
		}
		if (moves == head_get(head, moves)) /* else an entry may have been moving */
			scratch_put(scratch, where, scratch_get(scratch, where) & ~kind);
	}
	return NO_RULE;
}

/* The rule for a question in our own tables. */
static __always_inline __u64 zone_rule(struct scratch *scratch, const struct table_head *head,
				       struct name_text text, __u16 qtype)
{
	find_candidates(scratch, head, text, qtype);
	return seldom(scratch_get(scratch, count)) ? candidates_rule(scratch, head, qtype)
						   : NO_RULE;
}

#endif
