/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What holds for every frame, whatever the rules: read off PACKETS.md, octet by
 * octet, without a line of xdp/. Included by coverage.c alone.
 */
#ifndef XDPCTL_INVARIANTS_H
#define XDPCTL_INVARIANTS_H

#define INVARIANT(claim)                                                                    \
	do {                                                                                \
		if (!(claim)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
			abort();                                                            \
		}                                                                           \
	} while (0)

struct verdict {
	int code; /* enum xdp_action */
	__u32 reason;
	__u32 action;
	__u64 hits;
	size_t length;
	__u8 frame[FRAME_MAX];
};

static __u32 word_at(const __u8 *octets)
{
	return octets[0] << 8 | octets[1];
}

static __u32 add_words(__u32 sum, const __u8 *octets, size_t size)
{
	for (size_t i = 0; i < size; i++)
		sum += i % 2 ? octets[i] : octets[i] << 8;
	return sum;
}

static __u32 folded(__u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void check_same(const struct verdict *one, const struct verdict *other)
{
	INVARIANT(one->code == other->code);
	INVARIANT(one->reason == other->reason);
	INVARIANT(one->action == other->action);
	INVARIANT(one->hits == other->hits);
	INVARIANT(one->length == other->length);
	INVARIANT(!memcmp(one->frame, other->frame, one->length));
}

#define MAY(action) (1 << (action))
#define MAY_AS_RULE \
	(MAY(ACTION_PASS) | MAY(ACTION_DROP) | MAY(ACTION_TRUNCATE) | MAY(ACTION_REDIRECT))

/* Which actions a reason can have. */
static const __u8 actions_of[REASON_COUNT] = {
	[REASON_OTHER] = MAY(ACTION_PASS),
	[REASON_FRAGMENT] = MAY(ACTION_PASS) | MAY(ACTION_DROP),
	[REASON_MALFORMED] = MAY(ACTION_DROP),
	[REASON_ADDR_V4] = MAY_AS_RULE,
	[REASON_ADDR_V6] = MAY_AS_RULE,
	[REASON_CIDR4] = MAY_AS_RULE,
	[REASON_CIDR6] = MAY_AS_RULE,
	[REASON_QNAME] = MAY_AS_RULE,
	[REASON_NO_MATCH] = MAY(ACTION_PASS),
	[REASON_RESPONSE] = MAY(ACTION_PASS) | MAY(ACTION_REDIRECT),
	[REASON_OPCODE] = MAY(ACTION_PASS) | MAY(ACTION_REDIRECT),
	[REASON_UNANSWERABLE] = MAY(ACTION_DROP),
	[REASON_REDIRECT] = MAY(ACTION_PASS) | MAY(ACTION_REDIRECT),
	[REASON_XSK_INELIGIBLE] = MAY(ACTION_PASS),
	[REASON_PANIC] = MAY(ACTION_PASS),
	[REASON_EXEMPT] = MAY(ACTION_PASS) | MAY(ACTION_REDIRECT),
	[REASON_ZONE] = MAY_AS_RULE,
	[REASON_LIST_SOURCE] = MAY_AS_RULE,
	[REASON_LIST_NAME] = MAY_AS_RULE,
	[REASON_LIMIT] = MAY_AS_RULE,
	[REASON_UNPROVEN] = MAY_AS_RULE,
	[REASON_ZONE_LIMIT] = MAY_AS_RULE,
};

/* Whether nobody sends from this address, and nobody is sent to there: 0/8, 127/8, 224/3. */
static bool is_nobody4(const __u8 *address)
{
	return address[0] == 0 || address[0] == 127 || address[0] >= 224;
}

/* ::/127, ff00::/8, ::ffff:0:0/96. */
static bool is_nobody6(const __u8 *address)
{
	size_t zeros = 0;

	while (zeros < 16 && !address[zeros])
		zeros++;
	if (address[0] == 0xff || zeros == 16 || (zeros == 15 && address[15] == 1))
		return true;
	return zeros == 10 && address[10] == 0xff && address[11] == 0xff;
}

/* IPv4: gives the sum of the pseudo header's addresses. */
static __u32 check_ipv4(const __u8 *ip, size_t length, const __u8 *query)
{
	INVARIANT(length >= 20 && ip[0] == 0x45 && query[0] == 0x45);
	INVARIANT(ip[1] == query[1]);
	INVARIANT(word_at(ip + 2) == length);
	INVARIANT(!memcmp(ip + 4, query + 4, 4));
	INVARIANT(!(word_at(ip + 6) & 0x3fff));
	INVARIANT(ip[8] == 64 && ip[9] == 17 && query[9] == 17);
	INVARIANT(folded(add_words(0, ip, 20)) == 0xffff);
	INVARIANT(!memcmp(ip + 12, query + 16, 4) && !memcmp(ip + 16, query + 12, 4));
	INVARIANT(!is_nobody4(ip + 12) && !is_nobody4(ip + 16) && memcmp(ip + 12, ip + 16, 4));
	return add_words(0, ip + 12, 8);
}

static __u32 check_ipv6(const __u8 *ip, size_t length, const __u8 *query)
{
	INVARIANT(length >= 40 && ip[0] >> 4 == 6);
	INVARIANT(!memcmp(ip, query, 4));
	INVARIANT(word_at(ip + 4) == length - 40);
	INVARIANT(ip[6] == 17 && query[6] == 17 && ip[7] == 64);
	INVARIANT(!memcmp(ip + 8, query + 24, 16) && !memcmp(ip + 24, query + 8, 16));
	INVARIANT(!is_nobody6(ip + 8) && !is_nobody6(ip + 24) && memcmp(ip + 8, ip + 24, 16));
	return add_words(0, ip + 8, 32);
}

/* Gives the octets of the question, which is whole. */
static size_t question_size(const __u8 *question, size_t size)
{
	size_t end = 0;

	while (end < size && question[end]) {
		INVARIANT(question[end] < 64);
		end += question[end] + 1;
	}
	INVARIANT(end < 255 && end + 5 <= size);
	return end + 5;
}

static void check_dns(const __u8 *dns, size_t length, const __u8 *query, size_t query_length)
{
	size_t question;

	INVARIANT(length >= 12 && query_length >= length);
	INVARIANT(!memcmp(dns, query, 2));
	INVARIANT(!(query[2] & 0xf8)); /* a query, QUERY */
	INVARIANT(dns[2] == (0x82 | (query[2] & 1)));
	INVARIANT(dns[3] == ((query[2] & 1) << 7 | (query[3] & 0x10)));
	INVARIANT(word_at(dns + 4) == 1 && word_at(query + 4) == 1);
	INVARIANT(!word_at(dns + 6) && !word_at(dns + 8));
	question = question_size(dns + 12, length - 12);
	INVARIANT(!memcmp(dns + 12, query + 12, question));
	if (!word_at(dns + 10)) {
		INVARIANT(length == 12 + question);
		return;
	}
	INVARIANT(word_at(dns + 10) == 1 && length == 12 + question + 11);
	INVARIANT(word_at(query + 10) && !word_at(query + 6) && !word_at(query + 8));
	dns += 12 + question;
	query += 12 + question;
	INVARIANT(!dns[0] && word_at(dns + 1) == 41 && word_at(dns + 3) == 1232);
	INVARIANT(!query[0] && word_at(query + 1) == 41);
	INVARIANT(!dns[5] && !dns[6] && dns[7] == (query[7] & 0x80) && !dns[8]);
	INVARIANT(!word_at(dns + 9));
}

static void check_answer(const __u8 *answer, size_t length, const __u8 *query, size_t query_length)
{
	size_t at = 12;
	size_t udp;
	__u32 sum;

	INVARIANT(length <= query_length && length >= 14 + 20 + 8 + 12);
	INVARIANT(!(query[0] & 1) && !(query[6] & 1));
	INVARIANT(!memcmp(answer, query + 6, 6) && !memcmp(answer + 6, query, 6));
	while (word_at(query + at) == 0x8100 || word_at(query + at) == 0x88a8)
		at += 4;
	INVARIANT(at <= 20 && !memcmp(answer + 12, query + 12, at + 2 - 12));
	at += 2;
	if (word_at(query + at - 2) == 0x0800) {
		sum = check_ipv4(answer + at, length - at, query + at);
		udp = at + 20;
	} else {
		INVARIANT(word_at(query + at - 2) == 0x86dd);
		sum = check_ipv6(answer + at, length - at, query + at);
		udp = at + 40;
	}
	INVARIANT(!memcmp(answer + udp, query + udp + 2, 2));
	INVARIANT(!memcmp(answer + udp + 2, query + udp, 2));
	INVARIANT(word_at(answer + udp + 4) == length - udp);
	INVARIANT(word_at(answer + udp + 6));
	INVARIANT(folded(add_words(sum + 17 + (length - udp), answer + udp, length - udp)) ==
		  0xffff);
	check_dns(answer + udp + 8, length - udp - 8, query + udp + 8, query_length - udp - 8);
}

/* Three tags, one of VID 0: the kernel would go on taking those off. */
static void check_tags(const struct verdict *verdict, const __u8 *frame, size_t length)
{
	bool has_no_vlan = false;

	for (int i = 0; i < 3; i++) {
		const __u8 *tag = frame + 12 + 4 * i;

		if (length < 12 + 4 * (size_t)i + 6)
			return;
		if (word_at(tag) != 0x8100 && word_at(tag) != 0x88a8)
			return;
		has_no_vlan |= !(word_at(tag + 2) & 0xfff);
	}
	INVARIANT(verdict->reason == (has_no_vlan ? REASON_MALFORMED : REASON_OTHER));
}

/* Of a first IPv4 fragment without tags: its ports are there, and if filtered, its eights. */
static void check_fragment(const struct verdict *verdict, const __u8 *frame, size_t length)
{
	const __u8 *ip = frame + 14;
	int header, least, data;

	if (length < 34 || word_at(frame + 12) != 0x0800 || ip[0] >> 4 != 4)
		return;
	header = (ip[0] & 15) * 4;
	if (header < 20 || length < 14 + (size_t)header || (word_at(ip + 6) & 0x3fff) != 0x2000)
		return;
	least = ip[9] == 17 ? 8 : 4;
	if (ip[9] != 17 && ip[9] != 6)
		return;
	data = word_at(ip + 2) < length - 14 ? word_at(ip + 2) : length - 14;
	data -= header;
	if (data < least || (verdict->reason != REASON_OTHER && data % 8))
		INVARIANT(verdict->reason == REASON_FRAGMENT && verdict->code == XDP_DROP);
}

static void check_verdict(const struct verdict *verdict, const __u8 *frame, size_t length,
			  bool panic, bool may_redirect)
{
	static const int codes[ACTION_COUNT] = {XDP_PASS, XDP_DROP, XDP_TX, XDP_REDIRECT};

	INVARIANT(verdict->reason < REASON_COUNT && verdict->action < ACTION_COUNT);
	INVARIANT(actions_of[verdict->reason] & MAY(verdict->action));
	INVARIANT(verdict->code == codes[verdict->action]);
	INVARIANT(verdict->hits <= 1);
	if ((verdict->reason >= REASON_ADDR_V4 && verdict->reason <= REASON_QNAME) ||
	    (verdict->reason >= REASON_ZONE && verdict->reason <= REASON_LIST_NAME))
		INVARIANT(verdict->hits == 1);
	INVARIANT((verdict->reason == REASON_PANIC) == panic);
	INVARIANT(verdict->action != ACTION_REDIRECT || may_redirect);
	if (!panic) {
		check_tags(verdict, frame, length);
		check_fragment(verdict, frame, length);
	}
	if (verdict->code == XDP_TX) {
		INVARIANT(verdict->hits == (verdict->reason < REASON_LIMIT));
		check_answer(verdict->frame, verdict->length, frame, length);
	} else {
		INVARIANT(verdict->length == length && !memcmp(verdict->frame, frame, length));
	}
}

#endif
