// Selecting calls to deny them together: counts them, and keeps the selection to one agent. The server holds the rule.
(() => {
  "use strict";

  const form = document.getElementById("deny-selected");
  if (!form) return;
  const button = form.querySelector("[data-deny-selected]");

  const settle = () => {
    const boxes = [...document.querySelectorAll('#queue [name="selected"]')];
    const agentOf = (box) => box.closest("[data-card]").dataset.agent;
    const chosen = boxes.filter((box) => box.checked);
    for (const box of boxes) box.disabled = chosen.length > 0 && agentOf(box) !== agentOf(chosen[0]);
    button.textContent = chosen.length ? `Deny ${chosen.length} selected` : "Deny selected";
  };

  document.addEventListener("change", (event) => event.target.name === "selected" && settle());
  document.addEventListener("cards-changed", settle);
  form.addEventListener("reset", () => setTimeout(settle, 0));
  settle();
})();
