// A searchable choice, after the combobox pattern of the ARIA practices guide: type, arrow keys, Enter, Escape.

import { element } from "./words.js";

const WAIT_MS = 150;

export class Picker {
  // search(text) resolves to {items: [{id, name, note}], total}; onPick(item) is called when one is chosen.
  constructor(box, id, { placeholder, search, onPick }) {
    this.search = search;
    this.onPick = onPick;
    this.items = [];
    this.at = -1;
    this.chosen = null;
    this.asked = 0;
    this.input = element("input", {
      id, type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", placeholder,
      "aria-expanded": "false", "aria-controls": `${id}-list`, "aria-autocomplete": "list",
    });
    this.list = element("ul", { id: `${id}-list`, role: "listbox", "aria-label": placeholder, hidden: true });
    box.append(this.input, this.list);
    this.input.addEventListener("focus", () => this.input.select());
    this.input.addEventListener("click", () => this.open(""));
    this.input.addEventListener("input", () => this.later(this.input.value));
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("blur", () => this.close());
  }

  show(item) {
    this.chosen = item;
    this.input.value = item ? item.name || item.id : "";
    this.input.title = item ? item.id : "";
  }

  later(text) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(text), WAIT_MS);
  }

  async open(text) {
    const turn = (this.asked += 1);
    let found;
    try {
      found = await this.search(text.trim());
    } catch (error) {
      found = { items: [], total: 0, trouble: error.message };
    }
    // A slow answer must not replace the answer to what was typed since.
    if (turn !== this.asked || document.activeElement !== this.input) return;
    this.items = found.items;
    this.at = this.items.findIndex((item) => this.chosen && item.id === this.chosen.id);
    this.draw(found);
  }

  draw(found) {
    const rows = this.items.map((item, index) => {
      const row = element("li", { role: "option", id: `${this.list.id}-${index}` },
        element("span", { class: "option-name" }, item.name || item.id),
        element("span", { class: "option-note" }, [item.name ? item.id : "", item.note].filter(Boolean).join(" · ")));
      row.addEventListener("mousedown", (event) => {
        event.preventDefault();
        this.pick(index);
      });
      return row;
    });
    const rest = found.total - this.items.length;
    if (found.trouble) rows.push(element("li", { class: "option-rest" }, found.trouble));
    else if (!rows.length) rows.push(element("li", { class: "option-rest" }, "Nothing matches"));
    else if (rest > 0) rows.push(element("li", { class: "option-rest" }, `${rest.toLocaleString()} more: type to narrow down`));
    this.list.replaceChildren(...rows);
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    this.mark();
  }

  mark() {
    const rows = this.list.querySelectorAll("[role=option]");
    rows.forEach((row, index) => row.setAttribute("aria-selected", String(index === this.at)));
    if (rows[this.at]) {
      this.input.setAttribute("aria-activedescendant", rows[this.at].id);
      rows[this.at].scrollIntoView({ block: "nearest" });
    } else this.input.removeAttribute("aria-activedescendant");
  }

  key(event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (this.list.hidden) {
        this.open("");
        return;
      }
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.at = Math.min(Math.max(this.at + step, 0), this.items.length - 1);
      this.mark();
    } else if (event.key === "Enter" && !this.list.hidden && this.items.length) {
      event.preventDefault();
      this.pick(Math.max(this.at, 0));
    } else if (event.key === "Escape") this.close();
  }

  pick(index) {
    this.show(this.items[index]);
    this.close();
    this.onPick(this.chosen);
  }

  close() {
    clearTimeout(this.timer);
    this.asked += 1;
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
    this.show(this.chosen);
  }
}
