// Makes the owner's pages handier: the count on "Approve with N platforms", and buttons that copy. Both do without.
(() => {
  "use strict";

  for (const form of document.querySelectorAll("form[data-picks]")) {
    const count = form.querySelector("[data-platform-count]");
    if (!count) continue;
    const recount = () => {
      let platforms = 0;
      for (const group of form.querySelectorAll("[data-platform]")) {
        const picks = [...group.querySelectorAll('input[name="grant"]')];
        for (const pick of picks) pick.closest(".pick").querySelector('input[name="ask"]').disabled = !pick.checked;
        platforms += picks.some((pick) => pick.checked);
      }
      count.textContent = `Approve with ${platforms} ${platforms === 1 ? "platform" : "platforms"}`;
    };
    form.addEventListener("change", recount);
    recount();
  }

  for (const button of navigator.clipboard ? document.querySelectorAll("[data-copy]") : []) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      const before = [...button.childNodes];
      button.replaceChildren("Copied");
      setTimeout(() => button.replaceChildren(...before), 2000);
    });
  }
})();
