// The dashboard fetches itself anew: nothing jumps, folds up or is taken out of somebody's hands by it.
"use strict";

(() => {
  const isStats = (element) => element?.id === "stats";
  let kept = null;

  // Not while nobody looks, and not while somebody is copying.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (!isStats(event.target)) return;
    const selection = getSelection();
    const copying = selection && !selection.isCollapsed && event.target.contains(selection.anchorNode);
    if (document.hidden || copying) event.preventDefault();
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!isStats(event.detail.target)) return;
    kept = [...event.detail.target.querySelectorAll("details[open]")].map((details) => {
      const box = details.querySelector(".scroll");
      return { id: details.id, top: box?.scrollTop ?? 0, left: box?.scrollLeft ?? 0 };
    });
  });

  document.addEventListener("htmx:afterSwap", () => {
    for (const { id, top, left } of kept ?? []) {
      const details = document.getElementById(id);
      if (!details) continue;
      details.open = true;
      details.querySelector(".scroll")?.scrollTo(left, top);
    }
    kept = null;
  });
})();
