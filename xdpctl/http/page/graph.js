// Five minutes of packets a second by what was done with them, one area on the other; a dashed line
// where a rule, a limit or a list changed. uPlot draws it.

import { ACTION_WORDS, ACTIONS, clock, compact, rate } from "./text.js";

const SECONDS = 300;
const HEIGHT = 220;
const LINE = 14; // the height of a line of words above the plot
const LINES = 2;
const MARK_ROOM = 70;
const SILENCE = 10; // seconds: a stream that brings nothing for so long is opened again

const place = document.getElementById("graph");
const legend = document.getElementById("legend");
const words = document.getElementById("graph-words");

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class Graph {
  constructor() {
    this.points = []; // { time, rates }, the oldest first
    this.marks = []; // { time, text }
    this.plot = null;
    this.values = new Map();
    this.makeLegend();
    new ResizeObserver(() => this.fit()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.build());
  }

  add(time, rates) {
    while (this.points.length && time <= this.points.at(-1).time) this.points.pop(); // its clock was set back
    this.points.push({ time, rates });
    while (this.points[0].time < time - SECONDS) this.points.shift();
    if (!this.plot) this.build();
    this.draw();
    for (const action of ACTIONS) {
      const { item, value } = this.values.get(action);
      value.textContent = `${rate(rates[action] ?? 0)}/s`;
      item.hidden = action === "redirect" && !this.points.some((point) => point.rates.redirect > 0);
    }
    words.textContent = this.inWords();
  }

  // Takes what the service knows of before; of the time before that, what was seen here stays.
  fill(past) {
    if (!past.length) return;
    this.points = [...this.points.filter((point) => point.time < past[0].time), ...past];
  }

  // A jump in time is a gap, not a line: nobody looked.
  data() {
    const times = [];
    const series = ACTIONS.map(() => []);
    let former = null;
    for (const { time, rates } of this.points) {
      if (former !== null && time - former > SILENCE) {
        times.push(former + 1);
        for (const values of series) values.push(null);
      }
      former = time;
      times.push(time);
      let sum = 0;
      ACTIONS.forEach((action, index) => series[index].push((sum += rates[action] ?? 0)));
    }
    return [times, ...series.reverse()]; // the highest is drawn first, lower ones over it
  }

  draw() {
    const last = this.points.at(-1).time;
    this.plot.batch(() => {
      this.plot.setData(this.data(), false);
      this.plot.setScale("x", { min: last - SECONDS, max: last });
    });
  }

  build() {
    if (!this.points.length) return;
    this.plot?.destroy();
    const text = colour("quiet");
    const grid = { stroke: colour("line"), width: 1 };
    const font = "12px system-ui, sans-serif";
    const axis = { stroke: text, grid, ticks: { ...grid, size: 4 }, font };
    const series = [...ACTIONS].reverse().map((action) => ({
      stroke: colour(action),
      fill: colour(action),
      width: 1,
      points: { show: false },
    }));
    const options = {
      width: place.clientWidth || 300,
      height: HEIGHT,
      padding: [LINES * LINE + 6, 20, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      select: { show: false },
      scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(10, max * 1.1)] } },
      axes: [
        { ...axis, size: 28, space: 60, values: (_, splits) => splits.map((time) => clock(time).slice(0, 5)), incrs: [60, 120] },
        { ...axis, size: 48, values: (_, splits) => splits.map(compact) },
      ],
      series: [{}, ...series],
      hooks: { draw: [(plot) => this.drawMarks(plot)] },
    };
    this.plot = new uPlot(options, this.data(), place);
    this.draw();
  }

  fit() {
    const width = place.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }

  drawMarks(plot) {
    const { ctx, bbox } = plot;
    const pixels = devicePixelRatio || 1;
    ctx.save();
    ctx.font = `${11 * pixels}px system-ui, sans-serif`;
    ctx.textBaseline = "bottom";
    const words = new MarkWords(ctx, plot.ctx.canvas.width, bbox, pixels);
    for (const { time, text } of this.marks) {
      const x = Math.round(plot.valToPos(time, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = colour("mark");
      ctx.fillStyle = colour("mark");
      ctx.lineWidth = pixels;
      ctx.setLineDash([4 * pixels, 3 * pixels]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      words.place(x, text);
    }
    ctx.restore();
  }

  makeLegend() {
    for (const action of [...ACTIONS].reverse()) {
      const item = document.createElement("li");
      const name = document.createElement("span");
      name.textContent = ACTION_WORDS[action];
      const value = document.createElement("strong");
      item.className = action;
      item.append(name, " ", value);
      legend.append(item);
      this.values.set(action, { item, value });
    }
  }

  // The picture for those who do not see it; also the peak, which the axis only hints at.
  inWords() {
    const total = (point) => ACTIONS.reduce((sum, action) => sum + (point.rates[action] ?? 0), 0);
    const peak = this.points.reduce((most, point) => (total(point) > total(most) ? point : most));
    return `Packets a second. The most were ${rate(total(peak))}, at ${clock(peak.time)}.`;
  }
}

// The words of marks, on lines above the plot, to the right of a mark or to its left, where there is
// room. What finds none is in the list below the graph only.
class MarkWords {
  constructor(ctx, width, bbox, pixels) {
    Object.assign(this, { ctx, width, bbox, pixels, taken: [] }); // taken: { line, from, to }
  }

  place(x, text) {
    const whole = this.ctx.measureText(text).width;
    for (const [most, left] of [[whole, false], [whole, true], [MARK_ROOM * this.pixels, false], [MARK_ROOM * this.pixels, true]]) {
      for (let line = 0; line < LINES; line += 1) {
        const room = this.room(line, x, left) - 6 * this.pixels;
        if (room >= Math.min(most, whole)) {
          this.write(line, x, left, shortened(this.ctx, text, room));
          return;
        }
      }
    }
  }

  // From x to the next words on a line, or to the edge.
  room(line, x, left) {
    const others = this.taken.filter((one) => one.line === line);
    if (others.some((one) => one.from <= x && x <= one.to)) return 0;
    const ends = others.map((one) => (left ? one.to : one.from)).filter((end) => (left ? end < x : end > x));
    return left ? x - Math.max(0, ...ends) : Math.min(this.width, ...ends) - x;
  }

  write(line, x, left, text) {
    this.ctx.textAlign = left ? "right" : "left";
    this.ctx.fillText(text, x, this.bbox.top - (3 + line * LINE) * this.pixels);
    const width = this.ctx.measureText(text).width;
    this.taken.push({ line, from: left ? x - width : x, to: left ? x : x + width });
  }
}

function shortened(ctx, text, room) {
  if (ctx.measureText(text).width <= room) return text;
  let length = text.length;
  while (length > 1 && ctx.measureText(`${text.slice(0, length)}…`).width > room) length -= 1;
  return `${text.slice(0, length)}…`;
}
