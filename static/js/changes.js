// Shows in the card what changed since the last call of the same kind, where the link to it is. Without script, and when
// the server does not answer, the link leads to the page of the call.
(() => {
  "use strict";

  const fill = async (link) => {
    const part = link.closest("[data-changes]");
    link.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(link.href, {
        headers: { "X-Fragment": "1" },
        credentials: "same-origin",
        redirect: "error",
        cache: "no-store",
      });
      if (!response.ok) throw new Error(String(response.status));
      const template = document.createElement("template");
      template.innerHTML = await response.text();
      const shown = template.content.firstElementChild;
      shown.removeAttribute("id"); // one card of many
      part.replaceChildren(shown);
      const reader = shown.querySelector("[tabindex]") ?? shown;
      reader.tabIndex = 0; // with -1, Tab would begin anew at the top of the card
      reader.focus({ preventScroll: true });
      document.dispatchEvent(new Event("cards-changed")); // its times, too, are shown in the reader's zone
    } catch {
      location.assign(link.href);
    }
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-changes] > .changes-link");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    if (!link.hasAttribute("aria-busy")) fill(link);
  });
})();
