// Passkeys: the form that adds one on the page of the account, and the one that logs in.
// Each asks the server for a question, the browser for an answer, and sends that.
(() => {
  "use strict";

  const known = window.PublicKeyCredential && PublicKeyCredential.parseCreationOptionsFromJSON && PublicKeyCredential.parseRequestOptionsFromJSON;

  const send = async (address, form) => {
    const response = await fetch(address, { method: "POST", body: new URLSearchParams(form) });
    const body = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(body.detail || "That did not work: try again.");
    return body;
  };

  const answer = async (form) => {
    const question = await send(form.action + "/begin", new FormData(form));
    const credential = form.dataset.passkey === "add"
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(question) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(question) });
    const filled = new FormData(form);
    filled.delete("password");
    filled.set("answer", JSON.stringify(credential.toJSON()));
    return send(form.action, filled);
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    if (!known) continue;
    form.hidden = false;
    const problem = form.querySelector("[role=alert]");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("button");
      button.disabled = true;
      problem.hidden = true;
      try {
        const { next } = await answer(form);
        location.assign(next);
      } catch (error) {
        problem.textContent = error.name === "NotAllowedError" ? "No passkey was chosen." :
          error.name === "InvalidStateError" ? "This device has a passkey for your account already." : error.message;
        problem.hidden = false;
      } finally {
        button.disabled = false;
      }
    });
  }
})();
