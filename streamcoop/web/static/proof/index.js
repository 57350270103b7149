/**
 * The browser's own verifier of the shared log: what a page imports.
 *
 * All of it throws ProofRefused for what does not hold, and NoVerdict where nothing can be said.
 */

import { bytesOf } from "./bytes.js";
import { keysForHead, keysForPromise } from "./pinned.js";
import { checkPromise } from "./promise.js";
import { checkReceipt, parseReceipt } from "./receipt.js";
import { ProofRefused } from "./refused.js";

export { parseFounding } from "./founding.js";
export { compareWithLatest, forget, keptEvidence, latestHead, pin, recall } from "./pinned.js";
export { STEPS, playCommitment } from "./receipt.js";
export { NoVerdict, ProofRefused } from "./refused.js";

/**
 * What a receipt shows, under a head that the pinned log signed. Reads nothing from the network: whether the published
 * log still begins with that head is for `compareWithLatest`.
 *
 * `expect` are fields that have to be as given: `{ type: "play", play: id, price_micro: 2000 }`. `passed` is told each
 * of STEPS as soon as it holds, and what it holds of.
 * @param {string | Uint8Array | ArrayBuffer} data
 * @param {import("./pinned.js").Pinned} pinned from `pin` or `recall`
 * @param {{expect?: Record<string, unknown>, passed?: (step: string, facts: Record<string, unknown>) => void}} [options]
 * @returns {Promise<import("./receipt.js").Shown>}
 */
export async function verifyReceipt(data, pinned, { expect = {}, passed } = {}) {
  const proof = parseReceipt(bytesOf(data));
  const { origin, size } = proof.head;
  return expected(await checkReceipt(proof, await keysForHead(pinned, origin, size), passed), expect);
}

/**
 * A promise that a key of the pinned log signed.
 *
 * Whose play it is of, `expect: { commitment: await playCommitment(opening, salt) }` holds it to. Whether it was kept:
 * verify the play's receipt with `expect: { commitment, price_micro }` of the promise.
 * @param {string | Uint8Array | ArrayBuffer} data
 * @param {import("./pinned.js").Pinned} pinned
 * @param {{expect?: Record<string, unknown>}} [options]
 * @returns {Promise<import("./promise.js").PlayPromise | import("./promise.js").VotePromise>}
 */
export async function verifyPromise(data, pinned, { expect = {} } = {}) {
  return expected(await checkPromise(bytesOf(data), (origin) => keysForPromise(pinned, origin)), expect);
}

/**
 * @template {Record<string, any>} T
 * @param {T} shown
 * @param {Record<string, unknown>} expect
 * @returns {T}
 */
function expected(shown, expect) {
  for (const [field, value] of Object.entries(expect)) {
    if (shown[field] !== value) {
      throw new ProofRefused("not-expected", { field, expected: value, found: shown[field] ?? null });
    }
  }
  return shown;
}
