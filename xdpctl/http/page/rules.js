// What we drop: the rules that are hit most, with what may be done about each.

import { ask, Refused } from "./api.js";
import { confirmed, notice } from "./question.js";
import { Rows, setButtons, setLines, setText } from "./rows.js";
import { ending, named, number, rate } from "./text.js";

const OPERATOR = /^(?:cli|api|file:)/;
const REASON = "from the page";
const UNKNOWN = "The service did not answer: look whether it was done, and try again.";

export async function tell(work, done) {
  try {
    const answer = await work();
    notice([done, ...(answer.warnings ?? [])].join(" "));
  } catch (error) {
    notice(error instanceof Refused ? error.message : UNKNOWN, { bad: true });
  }
}

export async function block(target, seconds = 600) {
  const yes = await confirmed({
    text: `Block ${target} for 10 minutes?`,
    detail: "Its packets are dropped on the card.",
    yes: "Block",
    danger: true,
  });
  const rule = { target, action: "drop", expires_in: seconds, reason: REASON };
  if (yes) await tell(() => ask("POST", "rules", { body: rule }), `${target} is blocked for 10 minutes.`);
}

export async function allow(target, qtype = null) {
  const yes = await confirmed({
    text: `Allow ${target}?`,
    detail: "No rule of a list or of a program drops it any more, until you unblock it.",
    yes: "Allow",
  });
  const rule = { target, qtype, action: "pass", reason: REASON };
  if (yes) await tell(() => ask("POST", "rules", { body: rule }), `${target} is allowed.`);
}

async function unblock(rule) {
  const yes = await confirmed({
    text: `Unblock ${named(rule)}?`,
    detail: `Ends what ${rule.origin} says about it. Another origin may still block it.`,
    yes: "Unblock",
  });
  const claimant = OPERATOR.test(rule.origin) ? null : rule.origin;
  const query = { target: rule.target, qtype: rule.qtype, claimant };
  if (yes) await tell(() => ask("DELETE", "rules", { query }), `${named(rule)} is unblocked.`);
}

// A list brings its rule back, and dnsdist owns its own: there an exception helps, or nothing does.
function actions(rule) {
  const name = named(rule);
  if (rule.origin.startsWith("dnsdist")) return [];
  if (rule.origin.startsWith("list:")) {
    return [{ text: "Allow…", label: `Allow ${name}`, act: (one) => allow(one.target, one.qtype) }];
  }
  return [{ text: "Unblock…", label: `Unblock ${name}`, act: unblock }];
}

const NONE = "No rule is hit now.";
const COUNTING = "The hits of all rules are being counted.";
const OLD = 5; // seconds: with very many rules, counting all hits takes as long
const WORDS = { drop: "drop", truncate: "to TCP", pass: "pass" };

export class RuleTable {
  constructor() {
    this.words = document.getElementById("rules-words");
    this.rows = new Rows(document.getElementById("rules"), {
      label: "Rules that are hit most",
      empty: NONE,
      key: (rule) => `${rule.map} ${named(rule)}`,
      columns: [
        { label: "Target", kind: "name", show: (cell, rule) => setLines(cell, named(rule), why(rule)) },
        { label: "Action", show: (cell, rule) => setText(cell, WORDS[rule.action] ?? rule.action) },
        { label: "Hits/s", kind: "number", show: (cell, rule) => setText(cell, rate(rule.rate ?? 0)) },
        { label: "Hits", kind: "number", show: (cell, rule) => setText(cell, number(rule.hits)) },
        { label: "", kind: "buttons", show: (cell, rule) => setButtons(cell, rule, actions(rule)) },
      ],
    });
  }

  // `age`: seconds since the hits were counted; null before that.
  show(rules, age) {
    const old = age > OLD ? `${Math.round(age)} s ago` : null;
    setText(this.words, rules.length ? `The rules that are hit most ${old ?? "now"}, 20 at most.` : "");
    setText(this.rows.empty, age === null ? COUNTING : old ? `No rule was hit ${old}.` : NONE);
    this.rows.show(rules);
  }
}

function why(rule) {
  return [rule.origin, rule.reason, ending(rule)].filter(Boolean).join(" · ");
}
