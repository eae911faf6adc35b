// What is said beside the list of /approvals: the word back after one's own decision, one at a time, and calls that
// failed, until they are dismissed. queue.js hands on what the server says.
(() => {
  "use strict";

  const toasts = document.getElementById("toasts");
  const said = document.getElementById("said"); // a status: what is put there is read out
  if (!toasts || !said) return;
  const told = new Set(); // outcomes that were said

  document.addEventListener("decided", ({ detail: word }) => {
    said.replaceChildren(document.importNode(word, true));
    // What was said of an earlier one is old; a warning stays.
    for (const notice of document.querySelectorAll(".notice-success")) notice.dataset.stale = "";
  });

  document.addEventListener("outcome", ({ detail: outcome }) => {
    const { outcome: id, words } = outcome.dataset;
    if (told.has(id)) return;
    told.add(id);
    const own = said.querySelector(`[data-toast="${id}"]`);
    if (!outcome.content.childElementCount) {
      own?.querySelector("[data-so-far]").replaceChildren(`${words}.`);
      return;
    }
    own?.remove();
    toasts.append(document.importNode(outcome.content, true));
  });

  // The next decision begins: the bar for it takes the place.
  document.addEventListener("change", (event) => event.target.name === "selected" && said.replaceChildren());

  document.addEventListener("click", (event) => {
    event.target.closest("[data-dismiss-toast]")?.closest("[data-toast]").remove();
  });
})();
