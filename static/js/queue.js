// Keeps the list of /approvals current without disturbing whoever works on it.
//
// Cards are matched by id. One that did not change is never touched; a new one goes to the end; one that is gone leaves
// an empty slot for as long as somebody points at, touches or focuses the list, so that nothing moves under a finger
// and a second click cannot hit the next card's button.
(() => {
  "use strict";

  const queue = document.getElementById("queue");
  if (!queue) return;
  const list = queue.querySelector("[data-cards]");
  const empty = queue.querySelector("[data-empty]");
  const pill = document.getElementById("connection");
  const announcer = document.getElementById("announcer");
  const whole = "whole" in queue.dataset; // the page of one call, which stays when it is decided
  const canHover = matchMedia("(hover: hover)");

  const EVERY = 5000; // ms
  const WHILE_PROCESSING = 700; // ms
  const PATIENCE = 10000; // ms
  const TOUCH_LASTS = 1500; // ms

  let version = queue.dataset.version;
  let epoch = 0; // moves with every decision: an answer that was asked for before it is out of date
  let timer = 0;
  let running = false;
  let again = false;
  let stopped = false;
  let lastTouch = 0;

  const cards = () => [...list.querySelectorAll(":scope > [data-card]")];

  const parse = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  };

  const ask = (url, options) =>
    fetch(url, {
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE),
      ...options,
      headers: { "X-Fragment": "1" },
    });

  // --- Holding still

  const engagedUpTo = () => {
    const children = [...list.children];
    if (Date.now() - lastTouch < TOUCH_LASTS) return children.length - 1;
    const hovers = canHover.matches;
    const last = children.findLastIndex(
      (child) => child.contains(document.activeElement) || (hovers && child.matches(":hover")),
    );
    return last < 0 && hovers && list.matches(":hover") ? children.length - 1 : last;
  };

  const settle = () => {
    const held = engagedUpTo();
    if (held < 0) document.querySelectorAll(".notice[data-stale]").forEach((notice) => notice.remove());
    const done = cards().length === 0;
    [...list.children].forEach((child, index) => {
      if (!("slot" in child.dataset) || (index <= held && !done)) return;
      if (child.contains(document.activeElement)) document.getElementById("title").focus({ preventScroll: true });
      child.remove();
    });
    empty.hidden = list.children.length > 0;
  };

  const vacate = (card, words) => {
    const slot = document.createElement("li");
    const call = document.createElement("a");
    slot.className = "slot";
    slot.dataset.slot = "";
    call.href = `/approvals/${card.dataset.card}`;
    call.textContent = "View call";
    slot.append(`${words}: ${card.dataset.name} `, call);
    slot.style.minHeight = `${card.getBoundingClientRect().height}px`;
    const focused = card.contains(document.activeElement);
    card.replaceWith(slot);
    if (focused) {
      slot.tabIndex = -1;
      slot.focus({ preventScroll: true });
    }
  };

  const swap = (card, next) => {
    const index = [...list.children].indexOf(card);
    const focused = card.contains(document.activeElement);
    if (index <= engagedUpTo()) next.style.minHeight = `${card.getBoundingClientRect().height}px`;
    const [details, opened] = [next, card].map((part) => part.querySelector("details"));
    if (details && opened) details.open ||= opened.open; // a phone's list has links instead
    const [typed, field] = [card, next].map((part) => part.querySelector(".deny-reason"));
    if (typed && field) field.value = typed.value;
    const [ticked, box] = [card, next].map((part) => part.querySelector("[name=selected]"));
    if (ticked && box) box.checked = ticked.checked && ticked.value === box.value; // a changed call was not ticked
    card.replaceWith(next);
    if (focused) next.querySelector("summary, a").focus({ preventScroll: true });
  };

  // --- Refreshing

  const reconcile = (fresh, outcomes) => {
    const incoming = new Map(fresh.map((card) => [card.dataset.card, card]));
    for (const card of cards()) {
      const next = incoming.get(card.dataset.card);
      incoming.delete(card.dataset.card);
      const ended = outcomes.get(card.dataset.card)?.dataset.words ?? "Finished";
      const noted = card.querySelector("[data-note]") && card.dataset.state !== "pending";
      if ("busy" in card.dataset) continue;
      if (noted) {
        if (!next) card.querySelector("[data-processing]")?.replaceChildren(ended);
        if (!next) card.dataset.state = "settled";
      } else if (!next) {
        vacate(card, { expired: "Expired", processing: ended }[card.dataset.state] ?? "No longer pending");
      } else if (next.dataset.key !== card.dataset.key || next.dataset.state !== card.dataset.state) {
        swap(card, next);
      }
    }
    list.append(...incoming.values());
    return [...incoming.values()];
  };

  const count = (pending) => {
    for (const place of document.querySelectorAll("[data-pending-count], [data-pending-badge]")) {
      place.hidden = pending === 0;
      place.textContent = "pendingBadge" in place.dataset ? `${pending} pending` : String(pending);
    }
    if (!whole) document.title = `${pending ? `(${pending}) ` : ""}Pending Approvals · AgentValet`;
  };

  const apply = (html) => {
    const fresh = parse(html).querySelector("#queue");
    version = fresh.dataset.version;
    const pending = Number(fresh.dataset.pending);
    const outcomes = new Map([...fresh.querySelectorAll("template[data-outcome]")].map((o) => [o.dataset.outcome, o]));
    const arrived = reconcile([...fresh.querySelectorAll("[data-card]")], outcomes);
    settle();
    queue.querySelector(".more")?.remove();
    const more = fresh.querySelector(".more");
    if (more) queue.append(more);
    count(pending);
    for (const detail of outcomes.values()) document.dispatchEvent(new CustomEvent("outcome", { detail }));
    if (arrived.length) {
      empty.querySelector("[data-no-agents]")?.remove();
      const names = arrived.map((card) => card.dataset.name).join("; ");
      announcer.textContent = `New approval request: ${names}. ${pending} pending.`;
    }
    document.dispatchEvent(new Event("cards-changed"));
  };

  const say = (...parts) => {
    pill.replaceChildren(...parts);
    pill.hidden = parts.length === 0;
  };

  const sessionEnded = () => {
    stopped = true;
    const link = document.createElement("a");
    link.href = `/sign-in?next=${encodeURIComponent(location.pathname)}`;
    link.textContent = "Sign in again";
    say("Your session has ended. ", link);
  };

  const schedule = () => {
    clearTimeout(timer);
    if (stopped || document.hidden) return;
    const soon = whole ? "[data-processing]" : '[data-processing], [data-state="expired"]';
    timer = setTimeout(refresh, again ? 0 : list.querySelector(soon) ? WHILE_PROCESSING : EVERY);
    again = false;
  };

  const refresh = async () => {
    clearTimeout(timer);
    if (stopped || document.hidden) return;
    if (running) {
      again = true;
      return;
    }
    running = true;
    const asked = epoch;
    // A card whose time is up may go before the sweep has counted the queue on: then we ask for all of it.
    const expired = list.querySelector(':scope > [data-state="expired"]') && !whole ? "&expired=1" : "";
    try {
      const response = await ask(`${queue.dataset.url}?version=${version}${expired}`);
      if (response.status === 401) {
        sessionEnded();
      } else if (response.status !== 200 && response.status !== 204) {
        throw new Error(String(response.status));
      } else {
        const html = await response.text();
        say();
        document.dispatchEvent(new CustomEvent("server-time", { detail: Number(response.headers.get("X-Server-Time")) }));
        if (asked !== epoch) again = true;
        else if (response.status === 200) apply(html);
      }
    } catch {
      say("Connection lost, retrying");
    } finally {
      running = false;
      schedule();
    }
  };

  // --- Deciding

  const working = (card, actions, word) => {
    const line = document.createElement("p");
    line.className = "card-actions processing";
    line.setAttribute("role", "status");
    line.style.minHeight = `${actions.getBoundingClientRect().height}px`;
    const spinner = document.createElement("span");
    spinner.className = "spinner";
    line.append(spinner, word);
    if (actions.contains(document.activeElement)) card.querySelector("summary").focus({ preventScroll: true });
    actions.hidden = true;
    actions.after(line);
    return (hint) => {
      line.remove();
      actions.hidden = false;
      const note = document.createElement("p");
      note.className = "card-note";
      note.setAttribute("role", "alert");
      note.textContent = hint;
      card.querySelectorAll(".card-note").forEach((old) => old.remove());
      actions.before(note);
    };
  };

  const decide = async (form, button) => {
    const card = form.closest("[data-card]");
    if ("busy" in card.dataset || card.dataset.state !== "pending") return;
    card.dataset.busy = "";
    epoch += 1;
    const body = new URLSearchParams(new FormData(form, button));
    const approving = form.dataset.decide === "Approved";
    const restore = working(card, card.querySelector("[data-actions]"), approving ? "Processing…" : "Denying…");
    try {
      const response = await ask(form.action, { method: "POST", body });
      delete card.dataset.busy;
      const answer = response.headers.get("X-Fragment");
      if (answer === "card" || answer === "said") {
        const content = parse(await response.text());
        const next = content.querySelector("[data-card]");
        if (next) swap(card, next);
        else if (!whole) vacate(card, form.dataset.decide);
        const detail = content.querySelector("[data-said]");
        if (detail && !whole) document.dispatchEvent(new CustomEvent("decided", { detail }));
        if (detail && !approving) empty.querySelector("[data-all-within]")?.remove(); // not when one was just denied
      } else if (response.status === 404) {
        vacate(card, "No longer there");
      } else if (response.status === 401) {
        restore("Nothing was decided.");
        sessionEnded();
      } else {
        restore("Nothing was decided: this page is out of date. Reload it and try again.");
      }
    } catch {
      delete card.dataset.busy;
      restore("The server did not answer. If your decision reached it, this card will say so in a moment.");
    }
    epoch += 1;
    settle();
    document.dispatchEvent(new Event("cards-changed"));
    refresh();
  };

  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-decide]")) return;
    event.preventDefault();
    decide(event.target, event.submitter);
  });

  document.addEventListener("click", (event) => {
    const card = event.target.closest("[data-dismiss]")?.closest("[data-card]");
    if (!card) return;
    if (card.dataset.state === "pending" || whole) card.querySelector("[data-note]").remove();
    else vacate(card, "Dismissed");
    settle();
  });

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
  document.addEventListener("card-expired", () => refresh());
  document.addEventListener("touchstart", () => (lastTouch = Date.now()), { passive: true });
  document.addEventListener("touchend", () => {
    lastTouch = Date.now();
    setTimeout(settle, TOUCH_LASTS + 50);
  });
  list.addEventListener("pointerleave", () => setTimeout(settle, 300));
  document.addEventListener("focusout", () => setTimeout(settle, 0));
  window.addEventListener("pageshow", (event) => event.persisted && refresh());
  schedule();
})();
