// Trying out the API from its documentation. The page reads as well without it.
"use strict";

const MOST_SHOWN = 100000;

// The address and the body that a form asks for.
function asked(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  for (const field of form.querySelectorAll('[data-in="path"]')) {
    path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
  }
  for (const field of form.querySelectorAll('[data-in="query"]')) {
    if (field.value !== "") query.set(field.name, field.value);
  }
  const body = form.querySelector('[data-in="body"]');
  return { address: query.size ? `${path}?${query}` : path, body: body && body.value.trim() ? body.value : null };
}

async function read(answer) {
  if (!answer.headers.get("Content-Type")?.startsWith("application/json")) {
    return `${(await answer.blob()).size} bytes`;
  }
  const text = await answer.text();
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// What is tried out is done: whatever may change something asks first.
function attempt(form) {
  const { address, body } = asked(form);
  const { method } = form.dataset;
  if (method === "GET") return send(form, address, body);
  signalbox.ask({
    asks: `Send ${method} to this Signalbox?`,
    lines: [`${method} ${address}`, ...(body === null ? [] : [body])],
    yes: `Send ${method}`,
    then: () => send(form, address, body),
  });
}

async function send(form, address, body) {
  const said = form.querySelector("[data-said]");
  const shown = form.querySelector("[data-answer]");
  const began = performance.now();
  const headers = body === null ? {} : { "Content-Type": "application/json" };
  try {
    const answer = await fetch(address, { method: form.dataset.method, headers, body });
    const text = await read(answer);
    said.textContent = `${answer.status} ${answer.statusText}, ${Math.round(performance.now() - began)} ms`;
    shown.textContent = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}\n… and ${text.length - MOST_SHOWN} more characters` : text;
    shown.hidden = false;
  } catch {
    said.textContent = "No answer: is Signalbox still running?";
  }
}

// What an address like /api/docs#list_events names is opened.
function openNamed() {
  const named = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.scrollIntoView({ block: "start" });
  }
}

document.addEventListener("DOMContentLoaded", () => {
  for (const form of document.querySelectorAll("form.try")) form.hidden = false;
  openNamed();
});
window.addEventListener("hashchange", openNamed);
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form.try")) return;
  event.preventDefault();
  attempt(event.target);
});
// The address names what was opened last.
document.addEventListener("toggle", (event) => {
  if (event.target.matches(".operation") && event.target.open) history.replaceState(null, "", `#${event.target.id}`);
}, true);
