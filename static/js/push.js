// Push notifications on this device: offers them, and hands what the browser's push service gives out to the server.
// Without a service worker or a push service none of it is shown.
(() => {
  "use strict";

  const DISMISSED = "push-dismissed";
  const possible = "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;

  const bytes = (base64url) =>
    Uint8Array.from(atob(base64url.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));

  const base64url = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

  const mark = async (subscription) => {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(subscription.endpoint));
    return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  };

  const dismissed = () => {
    try {
      return localStorage.getItem(DISMISSED) !== null;
    } catch {
      return false; // storage is off: the offer comes back
    }
  };

  const say = (form, sentence) => {
    const note = form.querySelector("[data-push-note]");
    note.textContent = sentence;
    note.hidden = sentence === "";
  };

  const registered = async () => {
    await navigator.serviceWorker.register("/sw.js");
    return navigator.serviceWorker.ready;
  };

  const keyOf = (subscription) => base64url(subscription.options.applicationServerKey ?? new ArrayBuffer(0));

  const subscribe = async (key) => {
    const { pushManager } = await registered();
    const known = await pushManager.getSubscription();
    if (known && keyOf(known) === key) return known;
    await known?.unsubscribe(); // made with a key that this server no longer has
    return pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(key) });
  };

  const enable = async (form) => {
    say(form, "");
    if ((await Notification.requestPermission()) !== "granted") {
      say(form, "Notifications are blocked: allow them for this site in the browser’s settings.");
      return;
    }
    try {
      const subscription = await subscribe(form.dataset.key);
      form.elements.endpoint.value = subscription.endpoint;
      form.elements.p256dh.value = base64url(subscription.getKey("p256dh"));
      form.elements.auth.value = base64url(subscription.getKey("auth"));
      form.requestSubmit();
    } catch {
      say(form, "The browser’s push service did not answer. Try again in a moment.");
    }
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-push]") || form.elements.endpoint.value) return;
    event.preventDefault();
    if ("busy" in form.dataset) return;
    form.dataset.busy = "";
    enable(form).finally(() => delete form.dataset.busy);
  });

  document.addEventListener("click", (event) => {
    const banner = event.target.closest("[data-push-dismiss]")?.closest("[data-push-banner]");
    if (!banner) return;
    banner.hidden = true;
    document.getElementById("title")?.focus({ preventScroll: true });
    try {
      localStorage.setItem(DISMISSED, new Date().toISOString());
    } catch {
      // storage is off
    }
  });

  const start = async () => {
    const forms = [...document.querySelectorAll("[data-push]")];
    if (!possible || !forms.length) return;
    const registration = await navigator.serviceWorker.getRegistration("/");
    const subscription = await registration?.pushManager.getSubscription();
    const here = subscription ? await mark(subscription) : "";
    const row = here && document.querySelector(`[data-device="${here}"]`);
    if (row) row.querySelector("[data-here]").hidden = false;
    for (const form of forms) {
      const on = Boolean(row) && keyOf(subscription) === form.dataset.key && Notification.permission === "granted";
      const banner = form.closest("[data-push-banner]");
      if (banner) banner.hidden = on || dismissed() || Notification.permission === "denied";
      else form.hidden = on;
    }
    for (const hint of document.querySelectorAll("[data-push-impossible]")) hint.hidden = true;
  };

  if (possible) start();
})();
