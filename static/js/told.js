// Keeps "Told" on the cards true: whether a message arrived is known only after the card was drawn. Nothing else moves.
(() => {
  "use strict";

  const queue = document.getElementById("queue");
  if (!queue) return;
  let ahead = Number(queue.dataset.now) - Date.now(); // what has to be added to our clock to get the server's
  const shown = new Map(); // by call, as the server said it

  const due = () =>
    [...queue.querySelectorAll("[data-told-due]")].filter((part) => Number(part.dataset.toldDue) <= Date.now() + ahead);

  const look = async () => {
    const ids = due().map((part) => ["id", part.dataset.told]);
    if (document.hidden || !ids.length) return;
    try {
      const response = await fetch(`/approvals/told?${new URLSearchParams(ids)}`, {
        headers: { "X-Fragment": "1" },
        credentials: "same-origin",
        redirect: "error",
        cache: "no-store",
        signal: AbortSignal.timeout(10000),
      });
      if (response.status === 401) clearInterval(timer);
      if (!response.ok) return;
      const template = document.createElement("template");
      template.innerHTML = await response.text();
      for (const part of template.content.querySelectorAll("[data-told]")) {
        const id = part.dataset.told;
        if (shown.get(id) === part.outerHTML) continue;
        shown.set(id, part.outerHTML);
        queue.querySelector(`[data-told="${id}"]`)?.replaceWith(part);
      }
      document.dispatchEvent(new Event("cards-changed"));
    } catch {
      // Offline for a moment: the next look finds out.
    }
  };

  document.addEventListener("server-time", (event) => {
    ahead = event.detail - Date.now();
  });
  const timer = setInterval(look, 2500);
})();
