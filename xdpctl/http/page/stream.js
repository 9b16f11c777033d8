// The live stream: events read from a fetch, as EventSource cannot send a token.

import { open, Refused } from "./api.js";

const SILENCE_MS = 10_000; // there is an event a second
const NO_SAMPLES = new Set(["no-samples", "readers"]); // codes of what cannot be given, while the rest can
const PAUSES_MS = [500, 1_000, 2_000, 5_000];

// Yields [name, document] of each event in a body (text/event-stream).
export async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parsed(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // it is broken or at its end
  }
}

function parsed(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  return data.length ? [name, JSON.parse(data.join("\n"))] : null;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Keeps one stream open, and opens it again when it ends.
export class Stream {
  // on: { connected(), event(name, data), lost(sentence), refused(error), without(sentence) }
  constructor(on) {
    this.on = on;
    this.query = {};
    this.abort = null;
    this.running = false;
  }

  // Opens the stream, or opens it anew where it is to bring something else.
  start(query) {
    const same = JSON.stringify(query) === JSON.stringify(this.query);
    this.query = query;
    if (this.running && !same) this.abort?.abort("changed");
    if (!this.running) this.run();
  }

  stop() {
    this.running = false;
    this.abort?.abort("stopped");
  }

  async run() {
    this.running = true;
    let failures = 0;
    while (this.running) {
      this.abort = new AbortController();
      try {
        await this.once(() => { failures = 0; });
        this.on.lost("The service ended the stream.");
      } catch (error) {
        if (!this.running) return;
        if (this.abort.signal.reason === "changed") continue;
        if (error instanceof Refused && error.status === 401) {
          this.running = false;
          this.on.refused(error);
          return;
        }
        if (error instanceof Refused && this.query.samples && NO_SAMPLES.has(error.code)) {
          this.query = {}; // as on a kernel that refuses them
          this.on.without(error.message);
          continue;
        }
        this.on.lost(error instanceof Refused ? error.message : "The service does not answer.");
      }
      await pause(PAUSES_MS[Math.min(failures++, PAUSES_MS.length - 1)]);
    }
  }

  async once(succeeded) {
    const { signal } = this.abort;
    let timer;
    const listen = () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.abort.abort("silent"), SILENCE_MS);
    };
    listen();
    try {
      const response = await open("GET", "live", { query: this.query, signal });
      this.on.connected();
      for await (const [name, document] of eventsOf(response.body)) {
        listen();
        succeeded();
        this.on.event(name, document);
      }
    } finally {
      clearTimeout(timer);
    }
  }
}
