// What destroys or repeats asks first: the server says what it would do, here in a dialog. Without this it is a page.
"use strict";

(() => {
  const dialog = document.getElementById("question");
  const HOW = ["hx-post", "hx-target", "hx-select", "hx-swap"]; // how the form that asks shows what came of it

  let how = {};

  // Show the question that the dialog holds now.
  function show() {
    const its = dialog.querySelector("form");
    for (const [name, value] of Object.entries(how)) its.setAttribute(name, value);
    window.htmx?.process(dialog);
    signalbox.keepTimes(dialog);
    if (!dialog.open) dialog.showModal();
    dialog.querySelector("[autofocus]").focus();
  }

  async function ask(form, button) {
    const body = new URLSearchParams(new FormData(form, button));
    const headers = { "HX-Request": "true", "HX-Target": "question" };
    // A form's field may be named as one of its properties is: `action`.
    const answer = await fetch(form.getAttribute("action"), { method: "POST", body, headers }).catch(() => null);
    if (!answer) return signalbox.tell("No answer: is Signalbox still running?");
    if (answer.headers.get("HX-Redirect")) return location.assign(answer.headers.get("HX-Redirect"));
    if (!answer.ok) return signalbox.tell(`Not done: the answer was ${answer.status}`);
    if (answer.redirected) return location.assign(answer.url);
    const target = form.getAttribute("hx-target");
    const isHere = target && document.querySelector(target); // what shows what comes of it
    how = Object.fromEntries(HOW.filter((name) => isHere && form.hasAttribute(name)).map((name) => [name, form.getAttribute(name)]));
    dialog.innerHTML = await answer.text();
    show();
  }

  // Ask what no form of the server asks: `lines` are shown below as they are, and `then` is called after the yes.
  signalbox.ask = ({ asks, lines, yes, then }) => {
    const element = (name, more) => Object.assign(document.createElement(name), more);
    const form = element("form", { className: "line" });
    const cancel = element("button", { type: "button", textContent: "Cancel", autofocus: true });
    cancel.dataset.cancel = "";
    form.append(element("button", { className: "main", textContent: yes }), cancel);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      then();
    });
    const title = element("h2", { className: "asks", id: "question-title", textContent: asks });
    dialog.replaceChildren(title, ...lines.map((line) => element("pre", { className: "wirebox", textContent: line })), form);
    dialog.showModal();
    cancel.focus();
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("form[data-asks]")) {
      event.preventDefault();
      event.stopPropagation();
      ask(form, event.submitter);
    } else if (form.hasAttribute("hx-post") && form.closest("dialog") === dialog) {
      dialog.close();
    } else if (form.closest(".question")) {
      setTimeout(() => { for (const one of form.querySelectorAll("button")) one.disabled = true; }); // a second click
    }
  }, { capture: true });

  document.addEventListener("signalbox:asked", show);
  dialog.addEventListener("click", (event) => {
    if (!event.target.closest("[data-cancel]")) return;
    event.preventDefault();
    dialog.close();
  });
})();
