// One question at a time, in a dialog; answers of the service as notices.

import { setText } from "./rows.js";

const dialog = document.getElementById("question");
const parts = Object.fromEntries(
  ["text", "detail", "typed", "word", "yes", "no"].map((name) => [
    name,
    document.getElementById(`question-${name}`),
  ]),
);

// Returns whether the answer was yes. `word`: has to be typed for that.
export function confirmed({ text, detail = "", yes, word = "", danger = false }) {
  setText(parts.text, text);
  setText(parts.detail, detail);
  parts.yes.textContent = yes;
  parts.yes.classList.toggle("danger", danger);
  parts.typed.hidden = !word;
  parts.word.value = "";
  document.querySelector("label[for=question-word]").textContent = `Type ${word} to confirm`;
  const check = () => { parts.yes.disabled = parts.word.value.trim().toLowerCase() !== word; };
  check();
  parts.word.addEventListener("input", check);
  dialog.returnValue = "no";
  dialog.showModal();
  (word ? parts.word : parts.yes).focus();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        parts.word.removeEventListener("input", check);
        resolve(dialog.returnValue === "yes");
      },
      { once: true },
    );
  });
}

// Enter presses the first button of a form, which is not the one that is meant.
parts.word.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  if (!parts.yes.disabled) parts.yes.click();
});

const NOTICE_MS = 12_000;
const answers = document.getElementById("answers");

export function notice(text, { bad = false } = {}) {
  const made = document.createElement("p");
  setText(made, text);
  made.className = bad ? "notice error" : "notice";
  answers.append(made);
  while (answers.children.length > 3) answers.firstChild.remove();
  setTimeout(() => made.remove(), NOTICE_MS);
}
