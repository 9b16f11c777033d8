// A table whose rows have keys. While you point at it or are in it with the keyboard, rows keep their
// places, so that a button does not move away under you.

import { plain } from "./text.js";

const HELD_MOST = 30; // rows while they keep their places: a flood of new names adds no more

const canPoint = matchMedia("(hover: hover)");

function cell(row, column) {
  const made = row.insertCell();
  made.dataset.label = column.label;
  if (column.kind) made.className = column.kind;
  return made;
}

export class Rows {
  // columns: [{ label, kind, show(cell, item) }]; `kind` is a class of the cells.
  constructor(place, { label, columns, key, empty }) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    this.empty = document.createElement("p");
    this.empty.className = "quiet";
    this.empty.textContent = empty;
    this.table = document.createElement("table");
    this.table.setAttribute("aria-label", label);
    const head = this.table.createTHead().insertRow();
    for (const column of columns) {
      const title = document.createElement("th");
      title.scope = "col";
      title.textContent = column.label;
      if (column.kind) title.className = column.kind;
      head.append(title);
    }
    this.body = this.table.createTBody();
    place.replaceChildren(this.empty, this.table);
    this.show([]);
  }

  get inUse() {
    const pointed = canPoint.matches && this.body.matches(":hover"); // a finger leaves no pointer
    return pointed || this.table.contains(document.activeElement);
  }

  show(items) {
    this.empty.hidden = items.length > 0 || this.rows.size > 0;
    this.table.hidden = !this.empty.hidden;
    const held = this.inUse;
    const seen = new Set();
    items.forEach((item, place) => {
      const key = this.key(item);
      seen.add(key);
      if (held && !this.rows.has(key) && this.rows.size >= HELD_MOST) return;
      const row = this.rows.get(key) ?? this.add(key);
      row.classList.remove("gone");
      this.columns.forEach((column, index) => column.show(row.cells[index], item));
      if (!held && this.body.rows[place] !== row) this.body.insertBefore(row, this.body.rows[place] ?? null);
    });
    for (const [key, row] of this.rows) {
      if (seen.has(key)) continue;
      if (held) {
        row.classList.add("gone");
      } else {
        row.remove();
        this.rows.delete(key);
      }
    }
    if (!held) {
      this.empty.hidden = this.rows.size > 0;
      this.table.hidden = !this.empty.hidden;
    }
  }

  add(key) {
    const row = this.body.insertRow();
    for (const column of this.columns) cell(row, column);
    this.rows.set(key, row);
    return row;
  }
}

export function setText(place, text) {
  const shown = plain(text);
  if (place.textContent !== shown) place.textContent = shown;
}

// A name, and below it in small letters what is to be known of it.
export function setLines(place, name, more) {
  if (!place.firstChild) {
    const small = document.createElement("small");
    place.append(document.createElement("span"), small);
  }
  setText(place.firstChild, name);
  place.firstChild.title = plain(name); // a long one is cut
  setText(place.lastChild, more);
}

// Makes the buttons of a cell once, and lets them act on the row's present item.
export function setButtons(place, item, buttons) {
  const wanted = buttons.map((button) => button.text).join("|");
  place.item = item;
  if (place.dataset.buttons === wanted) {
    for (const [index, made] of [...place.children].entries()) made.ariaLabel = plain(buttons[index].label);
    return;
  }
  place.dataset.buttons = wanted;
  place.replaceChildren(
    ...buttons.map((button) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = button.text;
      made.ariaLabel = plain(button.label);
      made.addEventListener("click", () => button.act(place.item));
      return made;
    }),
  );
}
