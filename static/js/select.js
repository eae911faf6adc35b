// Selecting calls to deny them together: counts them, keeps the selection to one agent and says why, and asks where Enter
// would deny all of them. The server holds the rule.
(() => {
  "use strict";

  const form = document.getElementById("deny-selected");
  const confirm = document.getElementById("confirm-selected");
  if (!form || !confirm) return;
  const button = form.querySelector("[data-deny-selected]");
  const text = form.querySelector("[data-selection-text]");
  const rule = text.textContent;
  let asked = ""; // which calls, as they were displayed, the open question is about

  const selected = () => [...document.querySelectorAll('#queue [name="selected"]:checked')];
  const named = (boxes) => boxes.map((box) => box.value).join();
  const cardOf = (box) => box.closest("[data-card]");
  const nameOf = (box) => {
    const name = document.createElement("bdi");
    name.textContent = cardOf(box).querySelector(".card-agent").textContent;
    return name;
  };

  const settle = () => {
    const chosen = selected();
    let others = false;
    for (const box of document.querySelectorAll('#queue [name="selected"]')) {
      box.disabled = chosen.length > 0 && cardOf(box).dataset.agent !== cardOf(chosen[0]).dataset.agent;
      box.parentElement.title = box.disabled ? rule : "";
      others ||= box.disabled;
    }
    button.textContent = chosen.length ? `Deny ${chosen.length} selected` : "Deny selected";
    if (others) text.replaceChildren("Only calls of ", nameOf(chosen[0]), " can be added: one agent’s are denied together.");
    else text.textContent = rule;
    if (confirm.open && named(chosen) !== asked) confirm.close("");
  };

  const ask = () => {
    const chosen = selected();
    asked = named(chosen);
    const calls = chosen.length === 1 ? "1 call" : `${chosen.length} calls`;
    confirm.querySelector("[data-selected-title]").replaceChildren(`Deny ${calls} of `, nameOf(chosen[0]), "?");
    const reason = form.elements.reason.value.trim();
    confirm.querySelector("[data-selected-reason]").textContent = reason ? `Reason: ${reason}` : "No reason is given.";
    confirm.returnValue = "";
    confirm.showModal();
  };

  form.elements.reason.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    if (!event.repeat && selected().length) ask();
  });

  confirm.addEventListener("close", () => {
    if (confirm.returnValue === "yes" && named(selected()) === asked) form.requestSubmit(button);
  });

  document.addEventListener("change", (event) => {
    if (event.target.name !== "selected") return;
    settle();
    if (event.target.checked) event.target.parentElement.scrollIntoView({ block: "nearest" }); // out from behind the bar
  });
  document.addEventListener("cards-changed", settle);
  form.addEventListener("reset", () => setTimeout(settle, 0));
  settle();
})();
