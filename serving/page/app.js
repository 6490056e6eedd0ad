// Brings the page together: what is chosen stands in the address, and everything shown follows from it.

import { address, ask, askOrNone, Trouble } from "./api.js";
import { Chart, daysOf } from "./chart.js";
import { Deliveries } from "./deliveries.js";
import { Entry } from "./entry.js";
import { Picker } from "./picker.js";
import { Stream } from "./stream.js";
import { Windows } from "./windows.js";
import { addDays, count, day, element, estimate, quantity, range, units, weekday } from "./words.js";

const OPTIONS_MAX = 50;
const REFRESH_MS = 60_000;
const REFRESH_BUSY_MS = 5_000;
const get = (id) => document.getElementById(id);

const chosen = { customer: "", location: null, product: null, span: 84 };
const chart = new Chart(get("chart"));
const deliveries = new Deliveries(get);
const windows = new Windows(get);
const stream = new Stream(get);
const entry = new Entry(get, () => begin());
let session = { scopes: [], location_ids: [] };
let asked = 0;
let timer = 0;
let underWay = 0;
let forecastLine = "";

const locations = new Picker(get("location-box"), "location", {
  placeholder: "Search locations",
  search: (text) => options("locations", text, (row) => [row.region, row.kind].filter(Boolean).join(", ")),
  onPick: (item) => pick({ location: item }),
});
const products = new Picker(get("product-box"), "product", {
  placeholder: "Search products",
  search: (text) => options("products", text, (row) => [row.category, row.department].filter(Boolean).join(", ")),
  onPick: (item) => pick({ product: item }),
});

function itemOf(kind, row, note) {
  const id = row[`${kind.slice(0, -1)}_id`];
  return { id, name: row.name, note, unit: row.unit };
}

async function options(kind, text, note) {
  const found = await ask(`/v1/${kind}`, { customer_id: chosen.customer, q: text, limit: OPTIONS_MAX });
  const items = found[kind].map((row) => itemOf(kind, row, note(row)));
  // Pages come by id; a list that is complete is easier to read by name.
  if (items.length === found.total) items.sort((a, b) => (a.name || a.id).localeCompare(b.name || b.id));
  return { total: found.total, items };
}

// The item of an id; one that is not in the master data is shown by its id alone.
async function itemById(kind, id) {
  const found = await ask(`/v1/${kind}`, { customer_id: chosen.customer, q: id, limit: 1_000 });
  const row = found[kind].find((one) => one[`${kind.slice(0, -1)}_id`] === id);
  return row ? itemOf(kind, row, "") : { id, name: null, note: "" };
}

function tell(error) {
  const box = get("notice");
  box.hidden = !error;
  if (!error) return;
  const parts = [element("strong", {}, error.message)];
  if (error instanceof Trouble && error.action) parts.push(` ${error.action}`);
  box.replaceChildren(...parts);
}

function remember() {
  const query = { customer: chosen.customer, location: chosen.location?.id, product: chosen.product?.id };
  if (chosen.span !== 84) query.span = chosen.span;
  history.replaceState(null, "", address(location.pathname, query));
}

function pick(change) {
  Object.assign(chosen, change);
  remember();
  return guarded(() => together(showForecast(), showWindows()));
}

async function guarded(work) {
  try {
    await work();
    tell(null);
  } catch (error) {
    if (error.status === 401) entry.show(true);
    else if (error.name !== "AbortError") tell(error);
  }
}

async function firstSeries() {
  const found = await askOrNone("/v1/forecasts", { customer_id: chosen.customer, limit: 1 });
  if (found?.forecasts.length) return found.forecasts[0];
  const [places, things] = await Promise.all([options("locations", "", () => ""), options("products", "", () => "")]);
  return { location_id: places.items[0]?.id, product_id: things.items[0]?.id };
}

async function showCustomer(wanted = {}) {
  const first = wanted.location && wanted.product ? {} : await firstSeries();
  const place = wanted.location || first.location_id;
  const thing = wanted.product || first.product_id;
  [chosen.location, chosen.product] = await Promise.all([
    place ? itemById("locations", place) : null, thing ? itemById("products", thing) : null]);
  locations.show(chosen.location);
  products.show(chosen.product);
  remember();
  await together(showForecast(), showWindows(), showDeliveries(true), showStream());
}

// The parts of the page stand on different services: trouble in one must not hide the others.
async function together(...parts) {
  const all = await Promise.allSettled(parts);
  const failed = all.find((one) => one.status === "rejected");
  if (failed) throw failed.reason;
}

async function showWindows() {
  const { customer, location: place, product: thing } = chosen;
  if (!place || !thing) windows.hide();
  else await windows.show({ customer_id: customer, location_id: place.id, product_id: thing.id });
}

const may = (scope) => session.scopes.includes(scope);
// Deliveries hold all locations at once: a token for some of them sees none.
const seesDeliveries = () => !session.location_ids.length;

async function showStream() {
  if (may("operate")) await stream.show(chosen.customer);
}

async function showDeliveries(anew) {
  if (!seesDeliveries()) return;
  await (anew ? deliveries.show(chosen.customer) : deliveries.refresh());
  underWay = await deliveries.underWay();
  showFreshness();
}

function nothing(...parts) {
  get("chart").hidden = true;
  get("forecast-foot").hidden = true;
  get("legend").hidden = true;
  get("numbers").hidden = true;
  get("forecast-csv").hidden = true;
  get("figures").replaceChildren();
  get("provenance").textContent = "";
  get("forecast-unit").replaceChildren(...parts);
}

async function showForecast() {
  const turn = (asked += 1);
  const { customer, location: place, product: thing, span } = chosen;
  if (!place || !thing) {
    get("forecast-title").textContent = "Forecast";
    forecastLine = "";
    showFreshness();
    nothing("Nothing to show yet: deliver locations and products, then sales. The forecast follows with the next daily run.");
    return;
  }
  const series = { customer_id: customer, location_id: place.id, product_id: thing.id };
  const [found, past, runs] = await Promise.all([
    askOrNone("/v1/forecasts", series),
    ask("/v1/history", { ...series, days: Math.max(span, 28) }),
    ask("/v1/forecasts/runs", { customer_id: customer, limit: 1 }),
  ]);
  // Somebody may have chosen another series while this one was on its way.
  if (turn !== asked) return;
  get("forecast-title").textContent = `${thing.name || thing.id}, ${place.name || place.id}`;
  const rows = found?.forecasts || [];
  const unit = units(past.history.at(-1)?.unit || thing.unit);
  const days = daysOf(past.history, past.data_up_to, rows, span);
  showOrigin(found, past, runs, rows);
  if (!days.length) {
    nothing(found || past.data_up_to
      ? "Neither sales nor a forecast of this product at this location. Choose another, or deliver its sales."
      : "No forecast yet. Deliver sales; the next daily run seals them and makes the first forecast.");
    return;
  }
  get("chart").hidden = false;
  get("forecast-foot").hidden = false;
  get("legend").hidden = false;
  get("forecast-unit").textContent = `${unit.replace(/^./, (c) => c.toUpperCase())} a day`;
  chart.show(days, unit, get("forecast-title").textContent);
  showFigures(past, rows, unit);
  showNumbers(rows);
  get("forecast-csv").hidden = !rows.length;
  get("forecast-csv").href = address("/v1/forecasts", { ...series, format: "csv" });
}

function showOrigin(found, past, runs, rows) {
  const parts = [];
  if (found && rows.length) parts.push(`Model ${found.model}`, `made on ${day(found.made_on)}`);
  else if (found) parts.push(`The run of ${day(found.made_on)} holds no forecast of this product here`);
  else parts.push("No forecast is published yet: the daily run makes one once sales are sealed");
  if (past.data_up_to) parts.push(`sales up to ${day(past.data_up_to)}`);
  if (found) parts.push(`run ${found.run_id}`);
  const line = [element("span", {}, parts.join(" · "))];
  if (runs.state === "degraded") {
    const because = runs.degraded_because.join("; ").replace(/\.$/, "");
    line.push(element("span", { class: "held" },
      `${found ? "This forecast is older than it should be" : "There is no forecast"} since ${day(runs.degraded_since)}: ${because}.`));
  }
  get("provenance").replaceChildren(...line);
  forecastLine = [found ? `Forecast of ${day(found.made_on)}` : "No forecast yet",
    past.data_up_to ? `sales up to ${day(past.data_up_to)}` : "no sealed sales yet"].join(", ");
  showFreshness();
}

function showFreshness() {
  const waiting = underWay === 1 ? "one delivery under way" : `${count(underWay)} deliveries under way`;
  const parts = [forecastLine, underWay ? waiting : "no delivery under way"].filter(Boolean);
  get("freshness").textContent = parts.join(" · ");
}

function sum(rows, name) {
  return rows.reduce((total, row) => total + (row[name] ?? 0), 0);
}

function showFigures(past, rows, unit) {
  const figures = [];
  if (past.data_up_to && past.history.length) {
    const since = addDays(past.data_up_to, -27);
    figures.push(["Sold, last 28 days", sum(past.history.filter((one) => one.sold_on >= since), "quantity")]);
  }
  if (rows.length) {
    figures.push([`Expected, next ${Math.min(7, rows.length)} days`, sum(rows.slice(0, 7), "mean")]);
    if (rows.length > 7) figures.push([`Expected, next ${rows.length} days`, sum(rows, "mean")]);
  }
  get("figures").replaceChildren(...figures.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, quantity(value), element("small", {}, ` ${unit}`)))));
}

function showNumbers(rows) {
  get("numbers").hidden = !rows.length;
  get("numbers-rows").replaceChildren(...rows.map((row) => element("tr", {},
    element("td", {}, weekday(row.date)),
    element("td", { class: "number" }, estimate(row.mean)),
    element("td", { class: "number" }, range(row.q25, row.q75)),
    element("td", { class: "number" }, range(row.q05, row.q95)))));
}

function welcome() {
  const field = element("input", {
    id: "new-customer", pattern: "[a-z0-9][a-z0-9_\\-]{0,63}", required: true, autocomplete: "off", spellcheck: "false",
    placeholder: "corner-shops", title: "Lower-case letters, digits, - and _",
  });
  const form = element("form", { class: "upload" },
    element("label", { for: "new-customer" }, "Short name of the retailer "), field,
    element("button", { type: "submit" }, "Begin"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    start(field.value);
  });
  get("deliveries").hidden = true;
  get("stream").hidden = true;
  windows.hide();
  get("customer-label").hidden = true;
  get("freshness").textContent = "No customer has delivered anything yet";
  get("forecast-title").textContent = "Welcome";
  nothing("Every file belongs to a retailer. Name the first one, then deliver its locations, products and sales.", form);
  document.querySelector(".controls").hidden = true;
}

function start(customer, wanted = {}) {
  chosen.customer = customer;
  const select = get("customer");
  if (![...select.options].some((one) => one.value === customer)) select.append(new Option(customer, customer));
  select.value = customer;
  select.disabled = false;
  get("deliveries").hidden = !seesDeliveries();
  get("customer-label").hidden = false;
  document.querySelector(".controls").hidden = false;
  return guarded(() => showCustomer(wanted));
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(again, underWay ? REFRESH_BUSY_MS : REFRESH_MS);
}

// A page that nobody sees asks for nothing.
async function again() {
  if (!document.hidden) {
    if (!chosen.customer) await begin();
    else {
      await guarded(async () => {
        await together(showDeliveries(false), showWindows(), showStream());
        if (document.activeElement !== chart.svg && get("chart").matches(":not(:hover)")) await showForecast();
      });
    }
  }
  later();
}

async function begin() {
  await guarded(async () => {
    const query = new URLSearchParams(location.search);
    session = await ask("/v1/session");
    entry.show(false);
    get("deliver").hidden = !may("deliver");
    const { customers } = await ask("/v1/customers");
    get("customer").replaceChildren(...customers.map((one) => new Option(one, one)));
    const customer = query.get("customer") || customers[0];
    if (!customer) {
      welcome();
      return;
    }
    const span = get("span").querySelector(`[value="${CSS.escape(query.get("span") || "84")}"]`);
    if (span) {
      span.checked = true;
      chosen.span = Number(span.value);
    }
    await start(customer, { location: query.get("location"), product: query.get("product") });
  });
}

const THEMES = ["auto", "light", "dark"];

function useTheme(name) {
  const theme = THEMES.includes(name) ? name : "auto";
  document.documentElement.dataset.theme = theme;
  get("theme").textContent = theme.replace(/^./, (c) => c.toUpperCase());
  get("theme").setAttribute("aria-label", `Colours: ${theme === "auto" ? "as the system" : theme}`);
  return theme;
}

get("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  localStorage.setItem("theme", useTheme(next));
});
get("customer").addEventListener("change", (event) => start(event.target.value));
get("span").addEventListener("change", (event) => pick({ span: Number(event.target.value) }));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) again();
});

useTheme(localStorage.getItem("theme"));
await entry.byLink();
await begin();
later();
