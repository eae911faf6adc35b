// Counts down on cards. The server's clock is the one that counts.
(() => {
  "use strict";

  const queue = document.getElementById("queue");
  if (!queue) return;
  let ahead = Number(queue.dataset.now) - Date.now(); // what has to be added to our clock to get the server's

  const two = (number) => String(number).padStart(2, "0");

  const clock = (seconds) => {
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
    return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
  };

  const expire = (card) => {
    card.dataset.state = "expired";
    const actions = card.querySelector("[data-actions]");
    if (actions) {
      const held = actions.contains(document.activeElement);
      const note = document.createElement("p");
      note.className = "card-hint";
      note.textContent = "Expired";
      actions.replaceChildren(note);
      if (held) card.querySelector("summary, a").focus({ preventScroll: true });
    }
    document.dispatchEvent(new Event("card-expired"));
  };

  const tick = () => {
    for (const card of queue.querySelectorAll('[data-card][data-state="pending"]')) {
      const left = Math.ceil((Number(card.dataset.expires) - Date.now() - ahead) / 1000);
      const timer = card.querySelector("[data-timer]");
      timer.toggleAttribute("data-soon", left <= 60);
      timer.querySelector("[data-time-left]").textContent = clock(Math.max(0, left));
      if (left <= 0 && !("busy" in card.dataset)) expire(card);
    }
  };

  document.addEventListener("server-time", (event) => {
    ahead = event.detail - Date.now();
  });
  document.addEventListener("cards-changed", tick);
  tick();
  setInterval(tick, 1000);
})();
