// Draws the reference from this service's own description of itself, /openapi.json.

import { ask } from "./api.js";
import { element } from "./words.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const slug = (method, path) => `${method}${path.replace(/[^a-z0-9]+/gi, "-")}`.replace(/-$/, "");

function resolve(document, schema) {
  return schema?.$ref ? schema.$ref.split("/").slice(1).reduce((at, key) => at[key], document) : schema;
}

function typeOf(document, given) {
  const schema = resolve(document, given) || {};
  if (schema.anyOf) {
    return schema.anyOf.filter((one) => one.type !== "null").map((one) => typeOf(document, one)).join(" or ");
  }
  if (schema.enum) return schema.enum.join(", ");
  if (schema.type === "array") return `list of ${typeOf(document, schema.items)}`;
  if (given?.$ref) return given.$ref.split("/").pop().replace(/Answer$/, "");
  return schema.format || schema.type || "anything";
}

function bounds(schema) {
  const parts = [];
  const all = [schema, ...(schema.anyOf || [])];
  const find = (name) => all.map((one) => one[name]).find((value) => value !== undefined);
  if (schema.default !== undefined && schema.default !== null) parts.push(`default ${schema.default}`);
  if (find("minimum") !== undefined) parts.push(`at least ${find("minimum")}`);
  if (find("maximum") !== undefined) parts.push(`at most ${find("maximum").toLocaleString()}`);
  if (find("maxLength") !== undefined) parts.push(`at most ${find("maxLength").toLocaleString()} characters`);
  if (find("pattern") !== undefined) parts.push(`matches ${find("pattern")}`);
  return parts.join(", ");
}

function table(titles, rows) {
  const head = element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)));
  return element("div", { class: "scroll" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
}

function row(...cells) {
  return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
}

function parameters(document, operation) {
  if (!operation.parameters?.length) return null;
  return table(["Parameter", "Type", "Meaning"], operation.parameters.map((one) => row(
    element("span", {}, element("code", {}, one.name), one.required ? element("b", { class: "needed" }, " needed") : ""),
    typeOf(document, one.schema),
    [one.description || one.schema.description, bounds(one.schema)].filter(Boolean).join(" · "))));
}

function answers(document, operation) {
  const rows = Object.entries(operation.responses).map(([status, answer]) => {
    const types = Object.entries(answer.content || {});
    const shape = types.map(([, content]) => content.schema).find((schema) => schema?.$ref);
    return row(element("code", {}, status), types.map(([type]) => type).join(", ") || "–",
      [answer.description, shape ? `Fields: ${Object.keys(resolve(document, shape).properties).join(", ")}` : ""]
        .filter(Boolean).join(" · "));
  });
  return table(["Answer", "Types", "What it holds"], rows);
}

function sample(operation) {
  const found = Object.values(operation.responses).flatMap((answer) => Object.values(answer.content || {}))
    .map((content) => content.example).find((one) => one !== undefined);
  return found === undefined ? null : element("details", {}, element("summary", {}, "An answer"),
    element("pre", {}, element("code", {}, JSON.stringify(found, null, 2))));
}

function example(document, method, path, operation) {
  const query = new URLSearchParams();
  let target = path;
  for (const one of operation.parameters || []) {
    const schema = one.schema || {};
    const value = one.examples?.[0] ?? schema.examples?.[0] ?? (schema.anyOf || []).flatMap((each) => each.examples || [])[0];
    if (one.in === "path") target = target.replace(`{${one.name}}`, value ?? "1");
    else if (one.required && value !== undefined) query.set(one.name, value);
  }
  const text = `${location.origin}${target}${[...query].length ? `?${query}` : ""}`;
  // A file sent with -T is streamed; with --data-binary curl would read all of it into memory first.
  const file = method === "post" ? ` -X POST -T ${query.get("name") || "file"}` : "";
  const token = operation.security ? ` -H "Authorization: Bearer $TOKEN"` : "";
  return element("code", { class: "example" }, `curl${token}${file} '${text}'`);
}

function operationCard(document, method, path, operation) {
  const id = slug(method, path);
  return element("section", { class: "card", id, "aria-labelledby": `${id}-title` },
    element("h2", { id: `${id}-title` }, element("span", { class: "pill" }, method.toUpperCase()), " ", element("code", {}, path)),
    element("p", {}, operation.description || operation.summary),
    operation.requestBody?.description ? element("p", {}, `Body: ${operation.requestBody.description}`) : null,
    example(document, method, path, operation), parameters(document, operation), answers(document, operation), sample(operation));
}

const description = await ask("/openapi.json");
const operations = Object.entries(description.paths).flatMap(([path, item]) =>
  METHODS.filter((method) => item[method]).map((method) => ({ method, path, operation: item[method] })));
document.getElementById("about").textContent = description.info.description;
const tags = [...new Set(operations.map(({ operation }) => operation.tags?.[0] || "Other"))];
document.getElementById("contents").replaceChildren(...tags.map((tag) => element("div", {}, element("strong", {}, tag),
  ...operations.filter(({ operation }) => (operation.tags?.[0] || "Other") === tag).map(({ method, path }) =>
    element("a", { href: `#${slug(method, path)}` }, `${method.toUpperCase()} ${path}`)))));
document.getElementById("addresses").replaceChildren(...tags.flatMap((tag) => operations
  .filter(({ operation }) => (operation.tags?.[0] || "Other") === tag)
  .map(({ method, path, operation }) => operationCard(description, method, path, operation))));
document.getElementById("problem-list").replaceChildren(...description["x-problems"].flatMap((kind) => [
  element("dt", { id: kind.slug }, element("code", {}, kind.slug), ` ${kind.status} · ${kind.title}`),
  element("dd", {}, kind.action)]));
document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto";
// What the address names did not exist when the browser looked for it.
if (location.hash) location.replace(location.hash);
