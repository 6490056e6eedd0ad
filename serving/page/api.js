// Asks the service. Every failure is a Trouble with the words of the service's problem document.

export class Trouble extends Error {
  constructor(message, { kind = "", status = 0, action = "" } = {}) {
    super(message);
    this.kind = kind;
    this.status = status;
    this.action = action;
  }
}

const OFFLINE = {
  kind: "offline",
  action: "Check that the service runs and that this computer is connected; the page tries again by itself.",
};

export function address(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export function troubleOf(status, text) {
  try {
    const problem = JSON.parse(text);
    const kind = String(problem.type || "").split("#").pop();
    const detail = problem.detail.replace(/^./, (first) => first.toUpperCase()).replace(/[^.!?]$/, "$&.");
    return new Trouble(`${problem.title}. ${detail}`, { kind, status, action: problem.action });
  } catch {
    return new Trouble(`The service answered with status ${status}.`, { status });
  }
}

export async function ask(path, parameters, signal) {
  let answer;
  try {
    answer = await fetch(address(path, parameters), { headers: { Accept: "application/json" }, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The service cannot be reached.", OFFLINE);
  }
  if (!answer.ok) throw troubleOf(answer.status, await answer.text());
  return answer.json();
}

// A request that changes something; what it sends is JSON.
export async function change(method, path, body) {
  let answer;
  try {
    const headers = body ? { "Content-Type": "application/json" } : {};
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Trouble("The service cannot be reached.", OFFLINE);
  }
  if (!answer.ok) throw troubleOf(answer.status, await answer.text());
}

// Null where the service says that there is none.
export async function askOrNone(path, parameters, signal) {
  try {
    return await ask(path, parameters, signal);
  } catch (error) {
    if (error instanceof Trouble && error.status === 404) return null;
    throw error;
  }
}

// A request of its own kind, because only it tells how much has been sent.
export function send(path, parameters, file, onShare) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address(path, parameters));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) onShare(event.loaded / event.total);
    };
    request.onload = () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(troubleOf(request.status, request.responseText));
    };
    request.onerror = () => reject(new Trouble("The connection broke while the file was sent.", {
      action: "Send it again; a file that had arrived is recognised and counted once.",
    }));
    request.send(file);
  });
}
