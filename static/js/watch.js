// Keeps a part of the page fresh: an element with data-watch is asked for again every two seconds, until it says
// data-done. What it says of itself in data-said is told in [data-watch-said], and so read out. Nobody reads a hidden tab, and an answer that is the same changes nothing.
(() => {
  "use strict";

  const part = document.querySelector("[data-watch]");
  if (!part) return;
  let shown = part.innerHTML;

  const look = async () => {
    if (document.hidden) return;
    try {
      const response = await fetch(part.dataset.watch, {
        headers: { "X-Fragment": "1" },
        credentials: "same-origin",
        redirect: "error",
        cache: "no-store",
      });
      if (response.status === 401) clearInterval(timer);
      if (!response.ok) return;
      const html = await response.text();
      if (html.trim() === shown.trim()) return;
      const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
      part.innerHTML = shown = html;
      const said = document.querySelector("[data-watch-said]");
      const sentence = part.querySelector("[data-said]")?.dataset.said;
      if (said && sentence && said.textContent !== sentence) said.textContent = sentence;
      if (focused) document.getElementById(focused)?.focus();
      if (part.querySelector("[data-done]")) clearInterval(timer);
    } catch {
      // Offline for a moment: the next look finds out.
    }
  };
  const timer = setInterval(look, 2000);
  if (part.querySelector("[data-done]")) clearInterval(timer);
})();
