// One bin: which capture is selected, and new ones as they come. Nothing is missed (the number to go on from is kept)
// and nothing doubled (a capture has an id, and stands once).
"use strict";

(() => {
  const list = document.getElementById("list");
  if (!list) return;
  const pill = document.getElementById("newer");
  const said = document.getElementById("came");
  const MOST_LINES = 1000;
  const number = new Intl.NumberFormat("en");

  // The address says what is selected; the list only shows it.
  function mark() {
    const [, , , part, id] = location.pathname.split("/");
    for (const row of list.querySelectorAll(".row")) {
      if (part === "captures" && row.dataset.id === id) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    document.body.classList.toggle("selected", Boolean(part));
  }

  // Whoever holds a key while clicking wants the browser's own way: a new tab, a new window.
  document.addEventListener("click", (event) => {
    if (event.target.closest(".row[hx-get]") && (event.ctrlKey || event.metaKey || event.shiftKey)) event.stopPropagation();
  }, { capture: true });
  document.addEventListener("htmx:pushedIntoHistory", mark);
  document.addEventListener("htmx:historyRestore", mark);
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id !== "detail") return;
    mark();
    event.target.scrollTop = 0;
    if (event.target.getBoundingClientRect().top < 0) window.scrollTo(0, 0);
  });
  document.addEventListener("DOMContentLoaded", () => {
    list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  });

  if (!list.dataset.live || !window.EventSource) return;
  let after = list.dataset.after;
  let held = []; // lines that came while the list stood further down
  let unsaid = 0;
  let source;

  const isScrolled = () => list.scrollHeight > list.clientHeight + 1 && getComputedStyle(list).overflowY !== "visible";
  const standsAtTop = () => (isScrolled() ? list.scrollTop < 8 : list.getBoundingClientRect().top >= -8 || window.scrollY < 8);
  const stands = (id) => list.querySelector(`.row[data-id="${CSS.escape(id)}"]`) || held.some((line) => line.dataset.id === id);

  function insert(line) {
    list.querySelector("[data-nothing]")?.remove();
    line.classList.add("new");
    list.prepend(line);
    window.htmx?.process(line);
    signalbox.keepTimes(line);
    mark();
    trim([...list.querySelectorAll(".row")]);
  }

  function trim(rows) {
    const older = list.querySelector("#older a");
    if (rows.length <= MOST_LINES || !older) return;
    rows.slice(MOST_LINES).forEach((row) => row.remove());
    older.setAttribute("href", `${list.dataset.bin}?cursor=${rows[MOST_LINES - 1].dataset.number}`);
    older.setAttribute("hx-get", older.getAttribute("href"));
    window.htmx?.process(older);
  }

  // The counts of the head: what is kept grows until the oldest goes for each that comes.
  function count(line) {
    const kept = document.getElementById("kept");
    const most = Number(kept.dataset.most);
    const now = Math.min(Number(kept.dataset.count) + 1, most);
    kept.dataset.count = now;
    kept.textContent = number.format(now);
    document.getElementById("captured").textContent = number.format(Number(line.dataset.number));
  }

  function came(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const line = template.content.firstElementChild;
    if (stands(line.dataset.id)) return;
    unsaid += 1;
    count(line);
    if (standsAtTop()) insert(line);
    else held.push(line);
    showPill();
    // Who waits for the first one wants to see it.
    const waiting = document.querySelector("[data-waiting]");
    waiting?.removeAttribute("data-waiting");
    if (waiting) line.click();
  }

  function showPill() {
    pill.hidden = !held.length;
    pill.textContent = `${number.format(held.length)} new`;
  }

  function release() {
    held.forEach(insert);
    held = [];
    showPill();
  }

  // Too many came to be sent one by one: the list as it is now.
  async function renew() {
    const answer = await fetch(list.dataset.bin);
    if (!answer.ok) return signalbox.tell(`Not done: the answer was ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    list.replaceChildren(...page.getElementById("list").childNodes);
    for (const id of ["kept", "captured"]) document.getElementById(id).replaceWith(page.getElementById(id));
    window.htmx?.process(list);
    signalbox.keepTimes(list);
    held = [];
    showPill();
    mark();
  }

  function listen() {
    source?.close();
    source = new EventSource(`${list.dataset.live}?after=${after}`);
    source.addEventListener("came", (event) => {
      after = event.lastEventId;
      came(event.data);
    });
    source.addEventListener("more", (event) => {
      after = event.lastEventId;
      renew();
    });
    // The browser comes back by itself where the connection broke, but not where the answer was no stream.
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
    });
  }

  const settle = () => { if (held.length && standsAtTop()) release(); };
  list.addEventListener("scroll", settle, { passive: true });
  window.addEventListener("scroll", settle, { passive: true });
  pill.addEventListener("click", () => {
    (isScrolled() ? list : window).scrollTo({ top: 0 });
    release();
  });
  window.addEventListener("pagehide", () => source?.close());
  window.addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
  setInterval(() => {
    if (unsaid) said.textContent = `${number.format(unsaid)} new ${unsaid === 1 ? "request" : "requests"}`;
    unsaid = 0;
  }, 3000);
  listen();
})();
