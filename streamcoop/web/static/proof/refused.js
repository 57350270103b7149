/**
 * What is refused, and what could not be found out. Neither holds free text: pages say it in the reader's language.
 */

/** What was looked at does not hold. `code` is stable; `facts` are plain values that say the rest. */
export class ProofRefused extends Error {
  /**
   * @param {string} code
   * @param {Record<string, unknown>} [facts]
   */
  constructor(code, facts = {}) {
    super(code);
    this.name = "ProofRefused";
    this.code = code;
    this.facts = facts;
  }
}

/** Nothing can be said: the log could not be read, nothing is pinned, or this browser lacks what is needed. */
export class NoVerdict extends Error {
  /**
   * @param {string} code
   * @param {Record<string, unknown>} [facts]
   */
  constructor(code, facts = {}) {
    super(code);
    this.name = "NoVerdict";
    this.code = code;
    this.facts = facts;
  }
}

/**
 * @param {string} what what is not of its form
 * @param {Record<string, unknown>} [facts]
 * @returns {ProofRefused}
 */
export const malformed = (what, facts = {}) => new ProofRefused("malformed", { what, ...facts });
