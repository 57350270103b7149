// Amounts, exactly: whole numbers of millionths, as ledger/money.py has them.

const MICRO = 1_000_000n;
const DECIMAL = /^(\d{1,12})(?:\.(\d*))?$/;

/**
 * The micro-credits that an amount of money buys, typed as a decimal number, where a credit costs `price` micro-units of
 * money; NaN where it is none. What buys no exact number of credits is left over, and of what is typed more than millionths does not count.
 */
export function creditsFor(typed, price) {
  const plain = DECIMAL.test(typed.trim()) ? typed.trim() : Number(typed).toFixed(6); // a field for numbers takes 1e3
  const [, whole, rest = ""] = DECIMAL.exec(plain) ?? [];
  if (whole === undefined) return NaN;
  const money = BigInt(whole) * MICRO + BigInt(rest.slice(0, 6).padEnd(6, "0"));
  const common = divisor(BigInt(price), MICRO);
  return Number((money / (BigInt(price) / common)) * (MICRO / common));
}

function divisor(one, other) {
  return other ? divisor(other, one % other) : one;
}
