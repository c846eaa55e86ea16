// The send page: another name loads its sample, an error's place is a click away, Ctrl+Enter sends.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const text = document.getElementById("text");
  if (!text) return;
  const compose = document.getElementById("compose");
  const tidy = document.getElementById("tidy");
  for (const hidden of [tidy, compose.querySelector(".keys")]) hidden.hidden = false;

  document.getElementById("name").addEventListener("change", (event) => event.target.form.requestSubmit());

  compose.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      compose.requestSubmit();
    }
  });

  tidy.addEventListener("click", () => {
    try {
      text.value = JSON.stringify(JSON.parse(text.value), null, 2);
    } catch {
      signalbox.tell("Not tidied: it is not JSON");
      return;
    }
    text.dispatchEvent(new Event("input", { bubbles: true }));
  });

  compose.addEventListener("click", (event) => {
    const place = event.target.closest("[data-line]");
    if (!place) return;
    const before = text.value.split("\n").slice(0, place.dataset.line - 1);
    const at = before.reduce((length, line) => length + line.length + 1, 0) + Number(place.dataset.column) - 1;
    text.focus();
    text.setSelectionRange(at, at + 1);
  });

  const tellValidity = () => {
    const invalid = document.getElementById("check").dataset.valid === "no";
    invalid ? text.setAttribute("aria-invalid", "true") : text.removeAttribute("aria-invalid");
  };
  compose.addEventListener("htmx:afterSettle", tellValidity);
  tellValidity();
});
