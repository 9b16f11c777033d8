// The page: what the live stream brings is handed to its parts; signing in, panic and resume.

import { ask, Refused, token } from "./api.js";
import { Changes } from "./changes.js";
import { Graph } from "./graph.js";
import { confirmed, notice } from "./question.js";
import { setText } from "./rows.js";
import { RuleTable, tell } from "./rules.js";
import { Stream } from "./stream.js";
import { SAMPLED, TalkerTable } from "./talkers.js";
import { clock, stateWords } from "./text.js";

const element = (id) => document.getElementById(id);
const HIDDEN_MS = 10_000;
const SAID_MS = 5_000;
const AGAIN_MS = 60_000; // until samples are asked for again

const graph = new Graph();
const rules = new RuleTable();
const talkers = new TalkerTable();
const changes = new Changes(graph);
let panicIsOn = false;

const stream = new Stream({
  connected() {
    setText(element("connection"), "live");
    element("connection").className = "good";
    element("board").hidden = false;
    element("sign-in").hidden = true;
    element("sign-out").hidden = false;
    catchUp();
  },
  event(name, data) {
    if (name === "snapshot") showSnapshot(data);
    if (name === "talkers") talkers.show(data);
    if (name === "end") notice(`The stream ended: ${data.detail}`, { bad: true });
  },
  lost(sentence) {
    const since = graph.points.at(-1);
    const last = since ? ` What you see is of ${clock(since.time)}.` : "";
    const whole = /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
    showState("bad", `What happens now is not known. ${whole}`);
    setText(element("connection"), `${whole}${last} Trying again.`);
    element("connection").className = "bad";
  },
  refused(error) {
    signIn(error.message);
  },
  without(sentence) {
    talkers.without(sentence);
    setTimeout(() => stream.running && begin(), AGAIN_MS);
  },
});

function showSnapshot(snapshot) {
  graph.fill(snapshot.past);
  graph.add(snapshot.time, snapshot.rates);
  rules.show(snapshot.top, snapshot.top_age);
  changes.add(snapshot.events);
  const { tone, text, where, notes } = stateWords(snapshot.state, snapshot.rates);
  showState(tone, text);
  setText(element("state-where"), where);
  showNotes(notes);
  panicIsOn = snapshot.state.panic;
  setText(element("panic"), panicIsOn ? "Resume…" : "Panic…");
  element("panic").classList.toggle("danger", !panicIsOn);
}

let said;

// Who hears the page hears of another state, and not of other figures every second.
function showState(tone, text) {
  const words = text.replace(/[\d.,]+/g, "");
  const state = element("state");
  if (state.dataset.words !== words) {
    setText(element("state-said"), text);
    clearTimeout(said);
    said = setTimeout(() => setText(element("state-said"), ""), SAID_MS); // what it says grows old
  }
  state.dataset.words = words;
  state.dataset.tone = tone;
  setText(element("state-text"), text);
  document.title = `${tone === "bad" ? "! " : ""}xdpctl ${location.host}`;
}

function showNotes(notes) {
  const list = element("state-notes");
  const joined = notes.join("\n");
  if (list.dataset.notes === joined) return;
  list.dataset.notes = joined;
  list.replaceChildren(
    ...notes.map((note) => {
      const made = document.createElement("li");
      setText(made, note);
      return made;
    }),
  );
}

// What happened before the stream began, or while it was away.
async function catchUp() {
  try {
    changes.add((await ask("GET", "history", { query: { limit: 100 } })).changes);
  } catch (error) {
    if (!(error instanceof Refused)) return; // the stream says that the connection is lost
    notice(`What happened before cannot be shown: ${error.message}`, { bad: true });
  }
}

function signIn(sentence) {
  element("board").hidden = true;
  element("sign-out").hidden = true;
  element("sign-in").hidden = false;
  setText(element("connection"), "");
  setText(element("sign-in-error"), sentence);
  element("token").focus();
}

// Samples are taken only while somebody looks.
function begin() {
  stream.start(document.hidden ? {} : SAMPLED);
}

element("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(element("token").value.trim());
  element("token").value = "";
  setText(element("sign-in-error"), "");
  begin();
});

element("sign-out").addEventListener("click", () => {
  token.forget();
  location.reload(); // nothing that was shown is left
});

element("panic").addEventListener("click", async () => {
  if (panicIsOn) {
    const yes = await confirmed({
      text: "Filter again?",
      detail: "All rules and limits are in force again.",
      yes: "Resume",
    });
    if (yes) await tell(() => ask("POST", "resume"), "Filtering again.");
    return;
  }
  const yes = await confirmed({
    text: "Let every packet pass?",
    detail: "No rule and no limit is in force on any interface, also after a restart, until you resume.",
    word: "panic",
    yes: "Pass everything",
    danger: true,
  });
  if (yes) await tell(() => ask("POST", "panic"), "Panic is on: every packet passes.");
});

let hiding;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (!stream.running) return;
  if (document.hidden) hiding = setTimeout(begin, HIDDEN_MS);
  else begin();
});

setText(element("host"), location.host);
if (token.get()) begin();
else signIn("");
