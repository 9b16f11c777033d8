// Numbers, times and states as words. Knows documents of the API, and nothing of the page.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const brief = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const share = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const ACTIONS = ["pass", "redirect", "truncate", "drop"];

export const ACTION_WORDS = {
  pass: "passed",
  redirect: "to AF_XDP",
  truncate: "sent to TCP",
  drop: "dropped",
};

export const number = (value) => whole.format(value);
export const compact = (value) => brief.format(value);
export const percent = (value) => (value > 0 && value < 0.0005 ? "<0.1%" : share.format(value));

// A rate: below ten with two digits, as "0" would hide a slow drip.
export const rate = (value) => (value < 10 ? fine.format(value) : whole.format(value));

export const clock = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour12: false });

// The date only where it is not today's.
export function moment(seconds) {
  const then = new Date(seconds * 1000);
  const today = then.toDateString() === new Date().toDateString();
  const day = then.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return today ? clock(seconds) : `${day}, ${clock(seconds)}`;
}

// A program may call itself anything: what would turn the rest of a line around, or is no character
// to be seen (control and format characters, parts of characters, private ones), is written as its number.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;

export const plain = (text) =>
  text.replace(UNSEEN, (one) => `\\u${one.codePointAt(0).toString(16).padStart(4, "0")}`);

// For where there is no room for a long name.
export const brieflyNamed = (text, most = 60) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

const STEPS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

// A time span by its largest unit: 90 s is "1 min".
export function span(seconds) {
  const left = Math.max(0, Math.round(seconds));
  const [size, unit] = STEPS.find(([step]) => left >= step) ?? [1, "s"];
  return `${Math.floor(left / size)} ${unit}`;
}

export const ending = (rule) => (rule.expires_in === null ? "stays" : `ends in ${span(rule.expires_in)}`);

export const named = (rule) => (rule.qtype ? `${rule.target} ${rule.qtype}` : rule.target);

const LIMITS = {
  limit: "the limit of each source",
  unproven: "the flood limit",
  "zone-limit": "the limit of a zone",
};

function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

// What happens to the packets, in one sentence.
function traffic(rates) {
  const all = ACTIONS.reduce((sum, action) => sum + (rates[action] ?? 0), 0);
  if (all < 0.05) return "No packets arrive.";
  const refused = ["drop", "truncate"].filter((action) => rates[action] >= 0.05);
  const total = `${rate(all)} packets a second arrive`;
  if (!refused.length) return `${total}, none is refused.`;
  const parts = refused.map((action) => `${rate(rates[action])} are ${ACTION_WORDS[action]}`);
  return `${total}: ${listed(parts)}.`;
}

// Returns { tone, text, where, notes }: how the filter is, for an operator who just opened the page.
export function stateWords(state, rates) {
  const off = state.interfaces.filter((one) => one.state !== "attached");
  const on = state.interfaces.filter((one) => one.state === "attached");
  const where = on.length
    ? `The filter is on ${listed(on.map((one) => `${one.name} (${one.mode ?? "unknown mode"})`))}.`
    : "The filter is on no interface.";
  const notes = [...state.reasons, ...state.warnings];
  if (state.panic) {
    return { tone: "bad", text: `Panic is on: every packet passes. ${traffic(rates)}`, where, notes };
  }
  if (off.length) {
    const names = listed(off.map((one) => `${one.name} (${one.state})`));
    return { tone: "bad", text: `Not filtered: ${names}. ${traffic(rates)}`, where, notes };
  }
  if (!state.ready) return { tone: "bad", text: `Not ready. ${traffic(rates)}`, where, notes };
  if (state.limits.length) {
    const names = listed(state.limits.map((one) => LIMITS[one.reason] ?? one.reason));
    const dry = state.limits.every((one) => one.dry_run);
    const what = dry ? `A limit would act, ${names}, but it is in a dry run.` : `A limit acts, ${names}.`;
    const text = `${what} ${traffic(rates)}`;
    return { tone: "acting", text, where, notes };
  }
  const acts = (rates.drop ?? 0) + (rates.truncate ?? 0) >= 0.05;
  const tone = acts || notes.length ? "acting" : "good";
  return { tone, text: traffic(rates), where, notes };
}

const VERBS = {
  block: "blocked",
  allow: "allowed",
  unblock: "unblocked",
  expire: "ended",
  import: "imported",
  replace: "replaced",
  list: "list updated",
  flush: "removed",
  resize: "map resized",
  panic: "panic: everything passes",
  resume: "filtering again",
  detach: "filter taken off",
  attach: "filter put back",
  prove: "counts as proven",
  unprove: "no longer proven",
  publish: "published",
  unpublish: "no longer published",
  "limit-acts": "a limit acts",
  "limit-ended": "a limit has ended",
};

const OF_MANY = new Set(["block", "allow", "unblock", "expire", "import", "replace", "list", "flush"]);

// What was done, without who did it.
export function changeWords(change) {
  if (change.verb.startsWith("limit-")) return limitWords(change);
  const verb = change.action === "truncate" && change.verb === "block" ? "sent to TCP" : VERBS[change.verb] ?? change.verb;
  const what = change.target ? named(change) : change.origin ?? "";
  const many = OF_MANY.has(change.verb) && change.target === null && change.count > 1 ? `${number(change.count)} rules` : "";
  const said = [what, verb, many].filter(Boolean).join(" ");
  const detail = change.detail ?? "";
  return detail ? `${said}${detail.startsWith("for ") ? "" : ":"} ${detail}` : said;
}

// Its detail is which limit and for how long, its count packets.
function limitWords({ verb, detail, count }) {
  const [reason, ...rest] = (detail ?? "").split(" ");
  const which = [LIMITS[reason] ?? reason, ...rest].join(" ");
  return `${VERBS[verb] ?? verb}: ${which}${count ? `, ${number(count)} packets` : ""}`;
}

export function whoWords(who) {
  if (who.token) return [`${who.token} (token)`, who.address].filter(Boolean).join(", ");
  if (who.command || who.pid !== null) {
    const user = who.uid === 0 ? "root" : who.uid === null ? "" : `user ${who.uid}`;
    return [user, who.command ?? `process ${who.pid}`].filter(Boolean).join(", ");
  }
  return who.address ? `from ${who.address}` : "the service";
}
