// What every page does: keys, copying, times that stay true, words about what was done. Pages work without it.
"use strict";

const signalbox = {
  // Say something at the foot of the window, and to screen readers.
  tell(text) {
    const told = document.getElementById("told");
    const said = document.createElement("p");
    said.textContent = text;
    told.replaceChildren(said);
    clearTimeout(signalbox.toldUntil);
    signalbox.toldUntil = setTimeout(() => told.replaceChildren(), 4000);
  },

  async copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without https, or refused: the way that still works everywhere.
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "sr";
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    signalbox.tell(what ? `Copied ${what}` : "Copied");
  },

  // How long ago a time is, in the words of receiver/words.py.
  ago(milliseconds) {
    const length = Math.abs(milliseconds);
    if (length < 1000) return "just now";
    const [amount, unit] =
      length < 120e3 ? [length / 1e3, "s"] : length < 72e5 ? [length / 6e4, "min"]
      : length < 48 * 36e5 ? [length / 36e5, "h"] : [length / 864e5, "days"];
    const span = `${Math.floor(amount)} ${unit}`;
    return milliseconds > 0 ? `${span} ago` : `in ${span}`;
  },

  keepTimes(root) {
    for (const time of root.querySelectorAll("time.ago")) {
      time.textContent = signalbox.ago(Date.now() - Date.parse(time.dateTime));
    }
    for (const time of root.querySelectorAll("time.moment:not([data-local])")) {
      time.dataset.local = "";
      const local = new Date(time.dateTime);
      if (local.getTimezoneOffset() === 0) continue;
      const beside = document.createElement("small");
      beside.textContent = ` ${local.toLocaleString()}`;
      time.after(beside);
    }
  },

  // Keys about one thing: on a line that is marked and not open, they open it first.
  OF_A_LINE: ["c", "d", "r"],

  // data-key: the key that clicks this button or link.
  press(key) {
    const wanted = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key && one.offsetParent !== null);
    wanted?.click();
    return Boolean(wanted);
  },

  // The lines that j and k walk through.
  rows() {
    return [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);
  },

  walk(step) {
    const rows = signalbox.rows();
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    const selected = at >= 0 ? at : rows.findIndex((row) => row.hasAttribute("aria-current"));
    const next = rows[Math.min(Math.max(selected + step, 0), rows.length - 1)] ?? rows[0];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  },
};
window.signalbox = signalbox;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape" && event.target.matches("input, textarea")) event.target.blur();
  if (event.target.closest("input, textarea, select, [contenteditable], dialog")) return;
  if (event.key === "j" || event.key === "k") {
    event.preventDefault();
    signalbox.walk(event.key === "j" ? 1 : -1);
    return;
  }
  if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
    return;
  }
  const marked = document.activeElement.closest("[data-row][hx-get]:not([aria-current])");
  if (marked && signalbox.OF_A_LINE.includes(event.key)) {
    event.preventDefault();
    signalbox.then = { key: event.key, opened: marked.getAttribute("hx-get") };
    marked.click();
  } else if (signalbox.press(event.key)) {
    event.preventDefault();
  } else if (event.key === "?") {
    document.getElementById("help").showModal();
  }
});
// The marked line is open now: what its key does is about that, and about nothing that stood there before.
document.addEventListener("htmx:afterSettle", (event) => {
  const { key, opened } = signalbox.then ?? {};
  if (event.target.id !== "detail" || event.detail.pathInfo?.requestPath !== opened) return;
  signalbox.then = null;
  signalbox.press(key);
});

document.addEventListener("click", async (event) => {
  const copied = event.target.closest("[data-copy], [data-copy-from]");
  if (copied) {
    event.preventDefault();
    if (copied.dataset.copyFrom) {
      const answer = await fetch(copied.dataset.copyFrom);
      if (!answer.ok) return signalbox.tell(`Not copied: the answer was ${answer.status}`);
      signalbox.copy(await answer.text(), copied.dataset.what);
    } else {
      signalbox.copy(copied.dataset.copy, copied.dataset.what);
    }
  }
  if (event.target.closest("[data-help]")) document.getElementById("help").showModal();
});

document.addEventListener("DOMContentLoaded", () => {
  signalbox.keepTimes(document);
  // On a narrow screen the pages' names go on to the right.
  const here = document.querySelector(".bar nav [aria-current]");
  if (here) here.parentElement.scrollLeft = here.offsetLeft - here.parentElement.offsetLeft - 24;
  setInterval(() => signalbox.keepTimes(document), 5000);
});
document.addEventListener("htmx:load", (event) => signalbox.keepTimes(event.target));
document.addEventListener("htmx:sendError", () => signalbox.tell("No answer: is Signalbox still running?"));
document.addEventListener("htmx:responseError", (event) => signalbox.tell(`Not done: the answer was ${event.detail.xhr.status}`));
