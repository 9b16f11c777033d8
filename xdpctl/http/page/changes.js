// What has happened: the last changes as a list, and those of five minutes as marks of the graph.

import { setText } from "./rows.js";
import { brieflyNamed, changeWords, moment, plain, whoWords } from "./text.js";

const KEPT = 200;
const SHOWN = 30;

const keyOf = (change) => [change.time, change.verb, change.target, change.qtype, change.origin].join("|");

export class Changes {
  constructor(graph) {
    this.list = document.getElementById("changes");
    this.graph = graph;
    this.known = new Map();
  }

  // Takes changes, some of which may be known; one that goes on comes again with another count.
  add(changes) {
    if (!changes.length && this.known.size) return;
    for (const change of changes) this.known.set(keyOf(change), change);
    const all = [...this.known.values()].sort((one, other) => other.time - one.time).slice(0, KEPT);
    this.known = new Map(all.map((change) => [keyOf(change), change]));
    this.graph.marks = all.map((change) => ({ time: change.time, text: brieflyNamed(plain(changeWords(change))) }));
    this.list.replaceChildren(...(all.length ? all.slice(0, SHOWN).map(item) : [nothing()]));
  }
}

function item(change) {
  const made = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = new Date(change.time * 1000).toISOString();
  time.textContent = moment(change.time);
  const what = document.createElement("span");
  what.className = "what";
  setText(what, changeWords(change) + (change.reason ? ` (${change.reason})` : ""));
  what.title = what.textContent; // a long one is cut
  const who = document.createElement("span");
  who.className = "quiet";
  setText(who, whoWords(change.who));
  made.append(time, what, who);
  return made;
}

function nothing() {
  const made = document.createElement("li");
  made.className = "quiet";
  made.textContent = "Nothing yet.";
  return made;
}
