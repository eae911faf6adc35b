// Keys for the list of /approvals. They work on the card that has the focus, wait while somebody types, and leave every
// key alone that is held with another. Who does not want them turns them off, in the list of keys.
(() => {
  "use strict";

  const queue = document.getElementById("queue");
  const confirm = document.getElementById("confirm");
  const help = document.getElementById("keys");
  if (!queue || !confirm || !help) return;
  const list = queue.querySelector("[data-cards]");
  const announcer = document.getElementById("announcer");
  const openHelp = document.querySelector("[data-keys-open]");
  const isOn = help.querySelector("[data-keys-on]");
  const whole = "whole" in queue.dataset; // the page of one call
  const OFF = "keys-off";
  let asked = null; // what the open dialog asks: card, verb, and the digest that was displayed

  const cards = () => [...list.querySelectorAll(":scope > [data-card]")];
  const byId = (id) => cards().find((card) => card.dataset.card === id);
  const focusOn = (card) => card?.querySelector("summary").focus();

  const current = () => {
    const card = document.activeElement?.closest("[data-card]");
    return list.contains(card) ? card : whole ? cards()[0] : undefined;
  };

  const step = (by) => {
    const places = [...list.children]; // a slot is a place, too: it has the focus when its card went with it
    const at = places.findIndex((place) => place.contains(document.activeElement));
    const ahead = by > 0 ? places.slice(at + 1) : places.slice(0, at < 0 ? undefined : at).reverse();
    focusOn(ahead.find((place) => "card" in place.dataset));
  };

  // --- Asking before deciding

  const formFor = (card, verb) => {
    if (card?.dataset.state !== "pending" || "busy" in card.dataset) return null;
    return card.querySelector(verb === "approve" ? ".approve-form" : ".deny-form"); // the passkey's comes first
  };

  const ask = (verb) => {
    const card = current();
    if (!card) {
      step(1); // the first one: who decides sees what on
      return;
    }
    const form = formFor(card, verb);
    if (!form) {
      card.querySelector(".card-actions a")?.focus(); // to a passkey's registration, or to the whole call
      return;
    }
    asked = { id: card.dataset.card, verb, digest: form.elements.digest.value };
    const approving = verb === "approve";
    const button = confirm.querySelector("[data-confirm-yes]");
    const reason = confirm.querySelector("[data-confirm-reason]");
    confirm.querySelector("[data-confirm-title]").textContent = approving ? "Approve this call?" : "Deny this call?";
    confirm.querySelector("[data-confirm-name]").textContent = card.dataset.name;
    confirm.querySelector("[data-confirm-call]").replaceChildren(card.querySelector(".card-call").cloneNode(true));
    confirm.querySelector("[data-confirm-digest]").textContent = asked.digest.slice(0, 12);
    button.className = `button ${approving ? "button-approve" : "button-deny"}`;
    button.textContent = form.querySelector("button").firstChild.textContent;
    reason.hidden = approving;
    confirm.querySelector("[name=reason]").value = card.querySelector(".deny-reason")?.value ?? "";
    confirm.returnValue = "";
    confirm.showModal();
    (approving ? button : confirm.querySelector("[name=reason]")).focus();
  };

  const stillAsked = () => {
    const form = formFor(byId(asked.id), asked.verb);
    return form?.elements.digest.value === asked.digest ? form : null;
  };

  confirm.addEventListener("close", () => {
    const form = stillAsked();
    const card = byId(asked.id);
    if (!list.contains(document.activeElement)) focusOn(card ?? cards()[0]);
    if (confirm.returnValue === "yes" && form) {
      if (asked.verb === "deny") form.elements.reason.value = confirm.querySelector("[name=reason]").value;
      form.requestSubmit();
    }
  });

  document.addEventListener("cards-changed", () => {
    if (!confirm.open || stillAsked()) return;
    announcer.textContent = "This call has changed or is no longer pending. Nothing was decided.";
    confirm.close("");
  });

  // --- The keys

  const close = () => {
    const details = current()?.querySelector(".card-details[open]");
    if (!details) return;
    details.open = false;
    details.querySelector("summary").focus();
  };

  const select = () => {
    const box = current()?.querySelector("[name=selected]");
    if (box?.disabled) announcer.textContent = document.querySelector("[data-selection-text]").textContent;
    else box?.click();
  };

  const showHelp = () => {
    isOn.checked = localStorage.getItem(OFF) === null;
    help.showModal();
  };

  const keys = {
    j: () => step(1),
    k: () => step(-1),
    a: () => ask("approve"),
    d: () => ask("deny"),
    x: select,
    Escape: close,
    "?": showHelp,
  };

  document.addEventListener("keydown", (event) => {
    if (!Object.hasOwn(keys, event.key) || localStorage.getItem(OFF) !== null) return;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.repeat && event.key !== "j" && event.key !== "k") return;
    if (document.querySelector("dialog[open]")) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    event.preventDefault();
    keys[event.key]();
  });

  isOn.addEventListener("change", () => {
    if (isOn.checked) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "1");
  });
  openHelp.hidden = false;
  openHelp.addEventListener("click", showHelp);
})();
