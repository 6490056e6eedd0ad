// What was sold of one product at one location as the stream sums it, before any daily run.

import { address, ask } from "./api.js";
import { amount, count, element, quantity, windowWords } from "./words.js";

const SHOWN = 14;
const ROWS_MAX = 5_000;

export class Windows {
  constructor(get) {
    this.get = get;
    this.asked = 0;
    this.rows = [];
    get("window-name").addEventListener("change", () => this.draw());
  }

  async show(series) {
    const turn = (this.asked += 1);
    const found = await ask("/v1/sales/windows", { ...series, limit: ROWS_MAX });
    // Somebody may have chosen another series while this one was on its way.
    if (turn !== this.asked) return;
    this.series = series;
    this.rows = found.windows;
    this.complete = found.complete;
    this.names();
    this.draw();
  }

  hide() {
    this.asked += 1;
    this.get("windows").hidden = true;
  }

  // The choice stays where it is while windows of that name are there.
  names() {
    const select = this.get("window-name");
    const before = select.value;
    const names = [...new Set(this.rows.map((row) => row.window))];
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(before)) select.value = before;
    this.get("window-choice").hidden = names.length < 2;
  }

  draw() {
    const name = this.get("window-name").value;
    const rows = this.rows.filter((row) => row.window === name);
    this.get("windows").hidden = false;
    this.get("windows-csv").hidden = !rows.length;
    this.get("windows-csv").href = address("/v1/sales/windows", { ...this.series, window: name, format: "csv" });
    this.get("window-list").replaceChildren(rows.length ? this.table(rows) : this.nothing());
  }

  nothing() {
    return element("p", { class: "empty" }, this.complete
      ? "No sales of this product here have come lately. Sums follow some seconds after the sales were checked."
      : "The service is still reading the sums; they appear here in a moment.");
  }

  table(rows) {
    const titles = [["Window", null], ["Sold", "number"], ["Revenue", "number"], ["Sales", "number"], ["", null]];
    const head = titles.map(([title, kind]) => element("th", { scope: "col", class: kind },
      title || element("span", { class: "unseen" }, "Whether final")));
    const body = rows.slice(-SHOWN).reverse().map((row) => element("tr", {},
      element("td", {}, windowWords(row)),
      element("td", { class: "number" }, quantity(row.quantity)),
      element("td", { class: "number" }, amount(row.revenue)),
      element("td", { class: "number" }, count(row.sales)),
      element("td", { class: "cell-open" }, element("span", {
        class: `pill ${row.final ? "pill-done" : ""}`,
        title: row.final ? "These sums stay as they are." : "Late sales and corrections still count.",
      }, row.final ? "Final" : "Open"))));
    return element("div", { class: "scroll" }, element("table", { class: "windows" },
      element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
  }
}
