// A list that lives: what came and what changed, by server-sent events. Nothing is missed (the place to go on from is
// kept) and nothing doubled (a line has an id, and stands once).
"use strict";

(() => {
  const list = document.querySelector("#list[data-live]");
  if (!list || !window.EventSource) return;
  const pill = document.getElementById("newer");
  const said = document.getElementById("came");
  const MOST_LINES = 1000;
  const number = new Intl.NumberFormat("en");

  let after = list.dataset.after;
  let held = new Map(); // lines that came while the list stood further down, by id
  let behind = 0; // how many came that were not sent one by one
  let isBehind = false;
  let unsaid = 0;
  let source;

  const isScrolled = () => list.scrollHeight > list.clientHeight + 1 && getComputedStyle(list).overflowY !== "visible";
  const standsAtTop = () => (isScrolled() ? list.scrollTop < 8 : list.getBoundingClientRect().top >= -8 || window.scrollY < 8);
  const lineOf = (id) => list.querySelector(`.row[data-id="${CSS.escape(id)}"]`);

  function parse(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  }

  function ready(line) {
    window.htmx?.process(line);
    signalbox.keepTimes(line);
  }

  function renew(shown, line) {
    if (shown.dataset.stamp === line.dataset.stamp) return;
    if (shown.hasAttribute("aria-current")) line.setAttribute("aria-current", "true");
    const focused = document.activeElement === shown;
    shown.replaceWith(line);
    ready(line);
    if (focused) line.focus({ preventScroll: true });
  }

  // Where a line belongs: lines may be told in another order than that of their places.
  function insert(line) {
    const place = Number(line.dataset.place);
    const rows = [...list.querySelectorAll(".row[data-place]")];
    const next = rows.find((row) => Number(row.dataset.place) < place);
    if (!next && list.querySelector("#older") && rows.length) return; // it stands on an older page
    list.querySelector("[data-nothing]")?.remove();
    if (next) next.before(line);
    else if (rows.length) rows.at(-1).after(line);
    else list.prepend(line);
    line.classList.add("new");
    if (location.pathname.endsWith(`/${line.dataset.id}`)) line.setAttribute("aria-current", "true");
    ready(line);
    trim(rows);
  }

  function trim(rows) {
    const older = list.querySelector("#older a");
    if (rows.length < MOST_LINES || !older) return;
    rows.slice(MOST_LINES - 1).forEach((row) => row.remove());
    const address = new URL(older.href);
    address.searchParams.set("cursor", rows[MOST_LINES - 2].dataset.place);
    older.href = address.pathname + address.search;
    older.setAttribute("hx-get", older.getAttribute("href"));
    window.htmx?.process(older);
  }

  function came(line) {
    const shown = lineOf(line.dataset.id);
    if (shown) return renew(shown, line);
    if (!held.has(line.dataset.id)) unsaid += 1;
    if (standsAtTop() && !isBehind) insert(line);
    else held.set(line.dataset.id, line);
    showPill();
  }

  function changed(line) {
    const shown = lineOf(line.dataset.id);
    if (shown) renew(shown, line);
    else if (held.has(line.dataset.id)) held.set(line.dataset.id, line);
    else if (Number(line.dataset.place) > lowest()) came(line);
  }

  function lowest() {
    const rows = list.querySelectorAll(".row[data-place]");
    return rows.length && list.querySelector("#older") ? Number(rows[rows.length - 1].dataset.place) : 0;
  }

  function more(count) {
    unsaid += count;
    behind += count;
    isBehind = true;
    // Lists that are not sent line by line look for themselves.
    if (count && !list.classList.contains("events") && standsAtTop()) reload();
    else showPill();
  }

  function showPill() {
    const count = behind + held.size;
    pill.hidden = !count && !isBehind;
    pill.textContent = count ? `${number.format(count)} new` : "New ones";
  }

  function release() {
    for (const line of held.values()) insert(line);
    held = new Map();
    showPill();
  }

  async function reload() {
    const root = list.dataset.live.includes("kind=rejected") ? "/rejected" : list.dataset.live.includes("kind=quarantine") ? "/quarantine" : "/";
    const query = new URLSearchParams(list.dataset.live.split("?")[1]);
    query.delete("kind");
    const answer = await fetch(`${root}?${query}`);
    if (!answer.ok) return signalbox.tell(`Not done: the answer was ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("list");
    if (!page) return location.reload();
    list.replaceChildren(...page.childNodes);
    window.htmx?.process(list);
    signalbox.keepTimes(list);
    window.inbox?.mark();
    after = page.dataset.after;
    [held, behind, isBehind] = [new Map(), 0, false];
    list.scrollTop = 0;
    showPill();
    listen();
  }

  function toTop() {
    if (isBehind) return reload();
    (isScrolled() ? list : window).scrollTo({ top: 0 });
    release();
  }

  function listen() {
    source?.close();
    const joint = list.dataset.live.includes("?") ? "&" : "?";
    source = new EventSource(`${list.dataset.live}${joint}after=${after}`);
    const on = (name, act) => source.addEventListener(name, (event) => {
      if (event.lastEventId) after = event.lastEventId;
      act(event.data);
    });
    on("came", (data) => came(parse(data)));
    on("changed", (data) => changed(parse(data)));
    on("more", (data) => more(Number(data)));
    on("counts", (data) => {
      for (const [kind, count] of Object.entries(JSON.parse(data))) {
        const shown = document.querySelector(`[data-count="${kind}"]`);
        if (shown) shown.textContent = count;
      }
    });
    // The browser comes back by itself where the connection broke, but not where the answer was no stream.
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
    });
  }

  function say() {
    if (!unsaid) return;
    const thing = list.classList.contains("events") ? "event" : "line";
    said.textContent = `${number.format(unsaid)} new ${thing}${unsaid === 1 ? "" : "s"}`;
    unsaid = 0;
  }

  const settle = () => { if (held.size && standsAtTop() && !isBehind) release(); };
  list.addEventListener("scroll", settle, { passive: true });
  window.addEventListener("scroll", settle, { passive: true });
  pill.addEventListener("click", toTop);
  window.addEventListener("pagehide", () => source?.close());
  window.addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
  setInterval(say, 3000);
  listen();
})();
