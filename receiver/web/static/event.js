// One event: what was done is said at the foot, and what was unfolded stays so while the jobs go on.
"use strict";

document.addEventListener("signalbox:told", (event) => signalbox.tell(event.detail.value));

const unfolded = new Set();
document.addEventListener("htmx:beforeSwap", () => {
  unfolded.clear();
  for (const one of document.querySelectorAll(".event details[id][open]")) unfolded.add(one.id);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
});
