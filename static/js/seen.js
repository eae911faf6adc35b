// Tells the server which waiting calls have been on the screen: who has seen one is not reminded of it.
(() => {
  "use strict";

  const told = new Set();

  const tell = async () => {
    const token = document.querySelector("[data-card] [name=csrfmiddlewaretoken]")?.value;
    if (document.hidden || !token) return;
    const cards = [...document.querySelectorAll('[data-card][data-state="pending"]')].map((card) => card.dataset.card);
    const fresh = cards.filter((card) => !told.has(card));
    if (!fresh.length) return;
    fresh.forEach((card) => told.add(card));
    const body = new URLSearchParams([["csrfmiddlewaretoken", token], ...fresh.map((card) => ["id", card])]);
    try {
      await fetch("/approvals/seen", { method: "POST", body, headers: { "X-Fragment": "1" }, redirect: "error" });
    } catch {
      fresh.forEach((card) => told.delete(card)); // the next refresh tells it again
    }
  };

  document.addEventListener("cards-changed", tell);
  document.addEventListener("visibilitychange", tell);
  tell();
})();
