// Signs forms with a passkey: one that is marked with data-passkey fetches its options, has the device sign them, puts
// the answer into its field `credential`, and goes on as any form does. What else listens for `submit` sees it then.
// Where one of two buttons signs, the button is marked instead of the form, and takes the answer as its own value.
(() => {
  "use strict";

  const ceremonies = {
    get: async (json) =>
      navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(json) }),
    create: async (json) =>
      navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(json) }),
  };
  const known = Boolean(window.PublicKeyCredential?.parseRequestOptionsFromJSON && navigator.credentials);

  const say = (form, sentence) => {
    let note = form.querySelector("[data-passkey-note]");
    if (!note) {
      note = document.createElement("p");
      note.className = "form-error";
      note.dataset.passkeyNote = "";
      note.setAttribute("role", "alert");
      form.append(note);
    }
    note.textContent = sentence;
    note.hidden = sentence === "";
  };

  const reason = (error) => {
    if (error.name === "NotAllowedError") return "Cancelled, or no passkey of yours is at hand. Nothing was done.";
    if (error.name === "InvalidStateError") return "This device has a passkey here already.";
    return "The passkey could not be used. Nothing was done.";
  };

  const answerOf = (form, marked) => (marked === form ? form.elements[form.dataset.field ?? "credential"] : marked);

  const fetchOptions = async (form, address) => {
    const response = await fetch(address, {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
      headers: { "X-Fragment": "1" },
      credentials: "same-origin",
      redirect: "error",
      cache: "no-store",
    });
    if (response.ok) return response.json();
    const plain = response.headers.get("Content-Type")?.startsWith("text/plain");
    return Promise.reject({
      sentence: plain ? await response.text() : "This page is out of date. Reload it and try again.",
    });
  };

  const sign = async (form, marked) => {
    form.dataset.signing = "";
    say(form, "");
    try {
      const options = await fetchOptions(form, marked.dataset.options);
      const credential = await ceremonies[marked.dataset.passkey](options);
      if (!form.isConnected) {
        const sameClass = (other) => other.action === form.action && other.className === form.className;
        const drawnAnew = [...document.forms].find(sameClass);
        if (drawnAnew) say(drawnAnew, "The page was drawn anew meanwhile. Nothing was done: try again.");
        return;
      }
      const answer = answerOf(form, marked);
      answer.value = JSON.stringify(credential.toJSON());
      form.requestSubmit(marked === form ? undefined : marked);
      answer.value = ""; // it is good for one time
    } catch (error) {
      say(form, error.sentence ?? reason(error));
    } finally {
      delete form.dataset.signing;
    }
  };

  document.addEventListener(
    "submit",
    (event) => {
      const form = event.target;
      const marked = [form, event.submitter].find((part) => part?.matches("[data-passkey]"));
      if (!marked || answerOf(form, marked).value) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      if ("signing" in form.dataset) return;
      if (known) sign(form, marked);
      else say(form, "This browser does not know passkeys.");
    },
    true,
  );

  if (known) for (const form of document.querySelectorAll("form[data-passkey][hidden]")) form.hidden = false;
})();
