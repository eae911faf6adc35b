// Opens a row of the audit log in place. Without this file its link leads to the row's own page.
(() => {
  "use strict";

  const close = (row, link) => {
    row.nextElementSibling.remove();
    row.removeAttribute("data-opened");
    link.setAttribute("aria-expanded", "false");
  };

  const open = async (row, link) => {
    row.dataset.opened = "";
    link.setAttribute("aria-expanded", "true");
    const cell = document.createElement("td");
    const detail = document.createElement("tr");
    cell.colSpan = 5;
    cell.setAttribute("role", "cell");
    detail.className = "log-detail";
    detail.setAttribute("role", "row");
    detail.append(cell);
    row.after(detail);
    try {
      const answer = await fetch(link.href, { headers: { "X-Fragment": "1" } });
      if (!answer.ok) throw new Error(String(answer.status));
      cell.innerHTML = await answer.text(); // our own template, escaped there
      document.dispatchEvent(new Event("cards-changed"));
    } catch {
      location.assign(link.href); // the page itself says what is wrong
    }
  };

  for (const row of document.querySelectorAll("[data-row]")) {
    const link = row.querySelector("[data-open]");
    link.setAttribute("aria-expanded", "false");
    link.setAttribute("role", "button");
    const toggle = () => ("opened" in row.dataset ? close(row, link) : open(row, link));
    row.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
      if (String(getSelection())) return; // somebody marks text
      event.preventDefault();
      toggle();
    });
    link.addEventListener("keydown", (event) => {
      if (event.key !== " ") return;
      event.preventDefault();
      toggle();
    });
  }
})();
