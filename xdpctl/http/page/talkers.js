// Who comes: estimates from samples, by source, name, zone and more.

import { Rows, setButtons, setLines, setText } from "./rows.js";
import { allow, block } from "./rules.js";
import { ACTION_WORDS, percent, rate } from "./text.js";

// By what, in words, and whether a row's key can be blocked.
const BY = {
  source: ["Address", true],
  source24: ["IPv4 /24", true],
  source64: ["IPv6 /64", true],
  source48: ["IPv6 /48", true],
  name: ["Name", true],
  zone2: ["Zone of 2 labels", true],
  zone3: ["Zone of 3 labels", true],
  type: ["Query type", false],
  port: ["Port", false],
  reason: ["Reason", false],
};

// What the stream is asked for.
export const SAMPLED = { samples: "1", by: Object.keys(BY).join(), n: "10" };

export class TalkerTable {
  constructor() {
    this.select = document.getElementById("talkers-by");
    this.words = document.getElementById("talkers-words");
    this.document = null;
    this.rows = null;
    this.select.addEventListener("change", () => {
      this.rows = null;
      this.draw();
    });
  }

  show(found) {
    document.getElementById("talkers-card").hidden = false;
    this.document = found;
    this.draw();
  }

  draw() {
    if (!this.document) return;
    const kinds = Object.keys(this.document.by);
    this.offer(kinds);
    const kind = this.select.value || kinds[0];
    this.rows ??= this.table(kind);
    const items = this.document.by[kind] ?? [];
    setText(this.words, this.summary(items.length));
    this.rows.show(items);
  }

  // The service gives no samples, and says why.
  without(sentence) {
    this.document = null;
    this.rows = null;
    document.getElementById("talkers").replaceChildren(); // what came before is not now
    document.getElementById("talkers-card").hidden = false;
    setText(this.words, sentence);
  }

  summary(count) {
    const { lost, seconds, weight } = this.document;
    if (!count) return "";
    const missed = lost ? ` ${rate(lost)} ${lost === 1 ? "sample was" : "samples were"} lost.` : "";
    return `Estimated from samples of ${rate(weight / seconds)} packets a second.${missed}`;
  }

  offer(kinds) {
    if (this.select.dataset.kinds === kinds.join()) return;
    const former = this.select.value;
    this.select.dataset.kinds = kinds.join();
    this.select.replaceChildren(
      ...kinds.map((kind) => {
        const option = document.createElement("option");
        option.value = kind;
        option.textContent = BY[kind][0];
        return option;
      }),
    );
    if (kinds.includes(former)) this.select.value = former;
    this.rows = null;
  }

  // The error is of the packets, so of the rate it is a share.
  showRate(cell, row) {
    const error = row.error / this.document.seconds;
    setText(cell, error ? `${rate(row.rate)} ±${rate(error)}` : rate(row.rate));
  }

  table(kind) {
    const [label, isTarget] = BY[kind];
    const columns = [
      { label, kind: "name", show: (cell, row) => setLines(cell, row.key, fate(row)) },
      { label: "Share", kind: "number share", show: showShare },
      { label: "Packets/s", kind: "number", show: (cell, row) => this.showRate(cell, row) },
    ];
    if (isTarget) {
      const show = (cell, row) => setButtons(cell, row, actions(row));
      columns.push({ label: "", kind: "buttons", show });
    }
    return new Rows(document.getElementById("talkers"), {
      label: `Who comes, by ${label.toLowerCase()}`,
      empty: "No samples yet.",
      key: (row) => row.key,
      columns,
    });
  }
}

function actions(row) {
  return [
    { text: "Block 10 min…", label: `Block ${row.key} for 10 minutes`, act: (one) => block(one.key) },
    { text: "Allow…", label: `Allow ${row.key}`, act: (one) => allow(one.key) },
  ];
}

function showShare(cell, row) {
  setText(cell, percent(row.share));
  cell.style.setProperty("--share", `${Math.min(100, row.share * 100)}%`);
}

function part(share, words) {
  if (share === 1) return `all ${words}`;
  return share > 0.995 ? `nearly all ${words}` : `${percent(share)} ${words}`;
}

function fate(row) {
  const total = Object.values(row.actions).reduce((sum, count) => sum + count, 0);
  return Object.entries(row.actions)
    .filter(([, count]) => count > 0)
    .sort((one, other) => other[1] - one[1])
    .map(([action, count]) => part(count / total, ACTION_WORDS[action] ?? action))
    .join(", ");
}
