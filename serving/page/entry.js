// Lets a browser in: by the code of a link, or by a token that a person pastes.

import { change } from "./api.js";

export class Entry {
  constructor(get, onEnter) {
    this.get = get;
    get("entry-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.enter({ token: get("entry-token").value.trim() }).then((entered) => entered && onEnter());
    });
    get("leave").addEventListener("click", async () => {
      await change("DELETE", "/v1/session");
      location.reload();
    });
  }

  // The code of a link is behind #, which no server sees; it must not stay in the history either.
  async byLink() {
    const code = new URLSearchParams(location.hash.slice(1)).get("enter");
    if (!code) return;
    history.replaceState(null, "", location.pathname + location.search);
    await this.enter({ code });
  }

  async enter(given) {
    try {
      await change("POST", "/v1/session", given);
      this.get("entry-token").value = "";
      this.get("entry-answer").textContent = "";
      return true;
    } catch (error) {
      this.get("entry-answer").textContent = [error.message, error.action].filter(Boolean).join(" ");
      return false;
    }
  }

  show(wanted) {
    document.body.classList.toggle("is-outside", wanted);
    this.get("entry").hidden = !wanted;
    this.get("leave").hidden = wanted;
  }
}
