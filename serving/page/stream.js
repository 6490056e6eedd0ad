// How far each job is behind, partition by partition, and which deliveries wait for what.

import { ask } from "./api.js";
import { STATES, ago, count, element } from "./words.js";

const WAITING_MAX = 20;
const UNDER_WAY = ["accepted", "reading", "judging"];

export class Stream {
  constructor(get) {
    this.get = get;
    this.asked = 0;
  }

  async show(customer) {
    const turn = (this.asked += 1);
    const [found, ...waiting] = await Promise.all([
      ask("/v1/lags"),
      ...UNDER_WAY.map((state) => ask("/v1/deliveries", { customer_id: customer, state, limit: WAITING_MAX })),
    ]);
    if (turn !== this.asked) return;
    this.get("stream").hidden = false;
    this.waiting(waiting.flatMap((one) => one.deliveries));
    this.lags(found.lags);
  }

  waiting(deliveries) {
    const rows = deliveries.sort((a, b) => a.delivery_id - b.delivery_id).map((one) => element("li", {},
      element("span", { class: `pill pill-${one.state}` }, STATES[one.state] || one.state),
      element("span", {}, element("span", { class: "name" }, `${one.name} `),
        element("span", { class: "muted small" }, `No. ${one.delivery_id} · ${ago(one.accepted_at)}`),
        element("span", { class: "reason small" }, one.reason || "Its turn has not come yet."))));
    this.get("waiting").replaceChildren(rows.length
      ? element("ul", { class: "waiting" }, ...rows)
      : element("p", { class: "muted" }, "No delivery of this customer waits for anything."));
  }

  lags(lags) {
    const inputs = new Map();
    for (const lag of lags) {
      const name = `${lag.job} ${lag.topic}`;
      inputs.set(name, [...(inputs.get(name) || []), lag]);
    }
    const head = [["Job", null], ["Reads", null], ["Messages behind", "number"], ["By partition", null]].map(
      ([title, kind]) => element("th", { scope: "col", class: kind }, title));
    const body = [...inputs.values()].map((parts) => element("tr", {},
      element("td", {}, parts[0].job),
      element("td", {}, element("code", {}, parts[0].topic)),
      element("td", { class: "number" }, count(parts.reduce((sum, one) => sum + one.messages, 0))),
      element("td", {}, this.partitions(parts))));
    this.get("lag-list").replaceChildren(element("div", { class: "scroll" }, element("table", { class: "lags" },
      element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body))));
  }

  partitions(parts) {
    const most = Math.max(...parts.map((one) => one.messages));
    if (!most) return element("span", { class: "muted" }, parts.length > 1 ? `all ${count(parts.length)} at the end` : "at the end");
    return element("ul", { class: "partitions" }, ...parts.map((one) => element("li", { class: one.messages ? "is-behind" : null },
      element("span", { class: "muted" }, `p${one.partition} `), count(one.messages))));
  }
}
