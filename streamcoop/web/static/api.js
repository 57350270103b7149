// The API as pages call it. What it refuses is thrown as a Problem, with the server's own sentence.

import { word } from "./words.js";

const TIMEOUT_MS = 30_000;

export class Problem extends Error {
  /** `type` without its folder, as `insufficient-credit`; `facts` are the members of the problem document. */
  constructor(type, title, status, facts = {}) {
    super(title);
    this.type = type;
    this.status = status;
    this.facts = facts;
  }
}

/** What the API answers, as JSON; null where it answers nothing. Throws a Problem, also without a network. */
export async function call(method, path, body, { signal } = {}) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (failed) {
    if (signal?.aborted) throw failed;
    throw new Problem("no-network", word("no_network"), 0);
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  throw await problemOf(answer);
}

export async function problemOf(answer) {
  try {
    const told = await answer.json();
    return new Problem(told.type.split("/").pop(), told.title, answer.status, told);
  } catch {
    return new Problem("unknown", word("unknown"), answer.status);
  }
}
