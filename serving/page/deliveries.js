// The table of deliveries: what state each is in, what was refused and why, and the form that sends a file.

import { address, ask, send, Trouble } from "./api.js";
import { STATES, ago, codeWords, count, element, moment, size } from "./words.js";

const PAGE = 20;
const FIRST_ERRORS = 5;

export class Deliveries {
  constructor(get) {
    this.get = get;
    this.customer = null;
    this.open = new Set();
    this.older = [];
    this.asked = 0;
    get("state").addEventListener("change", () => this.restart());
    get("older").addEventListener("click", () => this.more());
    get("deliver").addEventListener("click", () => this.form(true));
    get("upload-cancel").addEventListener("click", () => this.form(false));
    get("upload").addEventListener("submit", (event) => this.upload(event));
  }

  async show(customer) {
    if (customer !== this.customer) {
      this.customer = customer;
      this.open.clear();
    }
    return this.restart();
  }

  async restart() {
    this.older = [];
    return this.refresh();
  }

  async page(cursor) {
    const state = this.get("state").value;
    return ask("/v1/deliveries", { customer_id: this.customer, state, cursor, limit: PAGE });
  }

  // How many of the newest deliveries are still under way, whatever the table shows.
  async underWay() {
    const newest = await ask("/v1/deliveries", { customer_id: this.customer, limit: PAGE });
    return newest.deliveries.filter((one) => !["done", "rejected"].includes(one.state)).length;
  }

  // Newest page anew; pages of older ones that were opened stay as they are.
  async refresh() {
    if (!this.customer) return;
    const turn = (this.asked += 1);
    const first = await this.page(null);
    if (turn !== this.asked) return;
    if (!this.older.length) this.cursor = first.next_cursor;
    const known = new Set(first.deliveries.map((one) => one.delivery_id));
    this.draw([...first.deliveries, ...this.older.filter((one) => !known.has(one.delivery_id))]);
  }

  async more() {
    const found = await this.page(this.cursor);
    this.older.push(...found.deliveries);
    this.cursor = found.next_cursor;
    await this.refresh();
  }

  draw(deliveries) {
    this.get("older").hidden = !this.cursor;
    const focused = document.activeElement?.dataset?.delivery;
    if (!deliveries.length) {
      this.get("delivery-list").replaceChildren(this.nothing());
      return;
    }
    const head = ["Delivery", "State", "Records", "Valid", "Refused", ""].map((name, index) =>
      element("th", { scope: "col", class: index > 1 && index < 5 ? "number" : null },
        name || element("span", { class: "unseen" }, "Details")));
    const body = element("tbody", {}, ...deliveries.flatMap((one) => this.rows(one)));
    this.get("delivery-list").replaceChildren(
      element("table", { class: "deliveries" }, element("thead", {}, element("tr", {}, ...head)), body));
    if (focused) document.querySelector(`[data-delivery="${CSS.escape(focused)}"]`)?.focus();
  }

  nothing() {
    if (this.get("state").value) return element("p", { class: "empty" }, "No delivery is in this state.");
    const command = `curl -T sales.csv '${location.origin}/v1/deliveries?customer_id=${this.customer}&name=sales.csv' -X POST`;
    return element("div", { class: "empty" },
      element("p", {}, element("strong", {}, "No deliveries yet.")),
      element("p", {}, "Send locations and products first, then sales: with the button above, or from a program:"),
      element("code", {}, command));
  }

  rows(one) {
    const open = this.open.has(one.delivery_id);
    const cells = [
      element("td", { class: "cell-name" },
        element("span", { class: "name" }, one.name),
        element("span", { class: "muted small", title: moment(one.accepted_at) },
          `No. ${one.delivery_id} · ${one.content} · ${size(one.size_bytes)} · ${ago(one.accepted_at)}`)),
      element("td", { class: "cell-state" },
        element("span", { class: `pill pill-${one.state}${one.invalid && one.state === "done" ? " pill-mixed" : ""}` },
          one.invalid && one.state === "done" ? "Done, with refusals" : STATES[one.state] || one.state),
        one.reason ? element("span", { class: "reason small" }, one.reason) : null),
      this.number("Records", one, one.records),
      this.number("Valid", one, one.valid),
      this.number("Refused", one, one.invalid, one.invalid ? "bad" : ""),
      element("td", { class: "cell-open" }, one.invalid
        ? element("button", {
          type: "button", class: "quiet", "aria-expanded": String(open), "data-delivery": one.delivery_id,
          "aria-label": `Why ${count(one.invalid)} records of ${one.name} were refused`,
          onclick: () => this.toggle(one),
        }, open ? "Close" : "Why?")
        : null),
    ];
    const row = element("tr", { class: open ? "is-open" : null }, ...cells);
    if (!open || !one.invalid) return [row];
    const details = element("td", { colspan: "6" }, this.codes(one), element("p", { class: "muted" }, "…"));
    this.fill(one, details);
    return [row, element("tr", { class: "details" }, details)];
  }

  // A file of which nothing was read has no counts, which is something else than none.
  number(label, one, value, name = "") {
    return element("td", { class: `number ${name}`, "data-label": label }, one.records ? count(value) : "–");
  }

  codes(one) {
    const found = Object.entries(one.by_code).sort((a, b) => b[1] - a[1]);
    const most = Math.max(1, ...found.map(([, value]) => value));
    return element("ul", { class: "codes" }, ...found.map(([code, value]) => {
      const meter = element("meter", { min: 0, max: most, value, "aria-hidden": "true" });
      return element("li", {}, element("span", { title: code }, codeWords(code)), meter, element("b", {}, count(value)));
    }));
  }

  async toggle(one) {
    if (!this.open.delete(one.delivery_id)) this.open.add(one.delivery_id);
    await this.refresh();
  }

  async fill(one, box) {
    const path = `/v1/deliveries/${one.delivery_id}/errors`;
    let shown;
    try {
      const found = await ask(path, { limit: FIRST_ERRORS });
      shown = found.errors.length ? this.errors(found) : element("p", { class: "muted" },
        "The refused records themselves can be read here in about a minute.");
    } catch (error) {
      shown = element("p", { class: "trouble" }, error.message);
    }
    const link = element("a", { href: address(path, { format: "csv", limit: 100_000 }), download: `refused-${one.delivery_id}.csv` },
      one.invalid > 100_000 ? "The first 100,000 refused records as CSV, to mend and send back" : "The refused records as CSV, to mend and send back");
    box.replaceChildren(this.codes(one), shown, element("p", {}, link));
  }

  errors(found) {
    const rows = found.errors.map((error) => element("tr", {},
      element("td", { class: "number" }, error.position === null ? "–" : count(error.position)),
      element("td", {}, error.sale_id || error.location_id || error.product_id || "–"),
      element("td", {}, ...error.messages.map((message) => element("div", {}, message)))));
    const titles = [["Record", "number"], ["Id", null], ["What is wrong", null]];
    const head = titles.map(([name, kind]) => element("th", { scope: "col", class: kind }, name));
    return element("div", { class: "scroll" }, element("table", { class: "errors" },
      element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)));
  }

  form(open) {
    this.get("upload").hidden = !open;
    this.get("upload-answer").textContent = "";
    if (open) this.get("upload-file").focus();
    else this.get("deliver").focus();
  }

  async upload(event) {
    event.preventDefault();
    const file = this.get("upload-file").files[0];
    const bar = this.get("upload-progress");
    const answer = this.get("upload-answer");
    if (!file || !this.customer) return;
    bar.hidden = false;
    bar.value = 0;
    answer.textContent = `Sending ${file.name} …`;
    const parameters = { customer_id: this.customer, name: file.name, content: this.get("upload-content").value };
    try {
      const receipt = await send("/v1/deliveries", parameters, file, (share) => { bar.value = share; });
      answer.textContent = receipt.repeated
        ? `This file had been delivered before: it is delivery ${receipt.delivery_id}, and counts once.`
        : `Accepted as delivery ${receipt.delivery_id}.`;
      this.get("upload-file").value = "";
      await this.restart();
    } catch (error) {
      answer.textContent = error instanceof Trouble && error.action ? `${error.message} ${error.action}` : error.message;
    } finally {
      bar.hidden = true;
    }
  }
}
