// Shows times in the reader's own zone; the title keeps UTC.
(() => {
  "use strict";

  const two = (number) => String(number).padStart(2, "0");

  const localise = () => {
    for (const time of document.querySelectorAll("time[data-local]")) {
      const at = new Date(time.dateTime);
      time.title = time.textContent;
      const seconds = time.dataset.local === "seconds" ? `:${two(at.getSeconds())}` : "";
      time.textContent =
        `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}${seconds}`;
      time.removeAttribute("data-local");
    }
  };

  document.addEventListener("cards-changed", localise);
  localise();
})();
