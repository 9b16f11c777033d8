// Requests to the service, with the token of this tab. Nothing else of the page talks to the network.

const KEY = "xdpctl-token";
const VISIBLE = /^[\x21-\x7e]*$/; // what a token is made of; a browser sends no header with other letters

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

// The service answered, and said no: `message` is its sentence, `code` is for programs.
export class Refused extends Error {
  constructor(status, sentence, code = "") {
    super(sentence);
    this.status = status;
    this.code = code;
  }
}

async function refusal(response) {
  const fallback = `the service answered ${response.status} ${response.statusText}`;
  try {
    const { detail, code } = await response.json();
    return new Refused(response.status, detail ?? fallback, code);
  } catch {
    return new Refused(response.status, fallback);
  }
}

const NO_TOKEN =
  "This is not the token: it has a blank, or a letter that no token has. Copy it again from the service's token-file.";

// Returns the response once its head is there; raises Refused, or TypeError without a connection.
export async function open(method, path, { query = {}, body, signal } = {}) {
  const url = new URL(`api/v1/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  if (!VISIBLE.test(token.get())) throw new Refused(401, NO_TOKEN);
  const headers = {};
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(url, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    signal,
  });
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function ask(method, path, options) {
  return (await open(method, path, options)).json();
}
