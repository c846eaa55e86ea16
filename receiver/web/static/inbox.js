// The inbox: which line is selected, and filters that apply as they are chosen.
"use strict";

window.inbox = {
  // The address says what is selected; the list only shows it.
  mark() {
    const [, kind, id] = location.pathname.split("/");
    for (const row of document.querySelectorAll(".row[data-id]")) {
      if (id && row.dataset.id === id) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    document.body.classList.toggle("selected", Boolean(kind && id));
  },
};

// Whoever holds a key while clicking wants the browser's own way: a new tab, a new window.
document.addEventListener("click", (event) => {
  if (event.target.closest(".row[hx-get]") && (event.ctrlKey || event.metaKey || event.shiftKey)) event.stopPropagation();
}, { capture: true });

document.addEventListener("htmx:pushedIntoHistory", () => window.inbox.mark());
document.addEventListener("htmx:historyRestore", () => window.inbox.mark());
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.target.id !== "detail") return;
  window.inbox.mark();
  event.target.scrollTop = 0;
  if (event.target.getBoundingClientRect().top < 0) window.scrollTo(0, 0);
});

document.addEventListener("DOMContentLoaded", () => {
  const filters = document.querySelector("form.filters");
  filters?.addEventListener("change", (event) => {
    if (event.target.matches("select")) filters.requestSubmit();
  });
  // An empty field is no part of the address.
  filters?.addEventListener("submit", () => {
    for (const field of filters.elements) field.disabled = field.name && !field.value;
    setTimeout(() => { for (const field of filters.elements) field.disabled = false; });
  });
  document.querySelector("[data-row][aria-current]")?.scrollIntoView({ block: "nearest" });

  // Narrow: one pane at a time, and the list is where it was.
  let listStoodAt = 0;
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.matches(".row") && !document.body.classList.contains("selected")) listStoodAt = window.scrollY;
  });
  document.getElementById("back")?.addEventListener("click", (event) => {
    event.preventDefault();
    history.pushState({ htmx: true }, "", event.currentTarget.href);
    window.inbox.mark();
    window.scrollTo(0, listStoodAt);
  });
});
