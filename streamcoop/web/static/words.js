// What scripts say, in the reader's language, and amounts as she reads them.

const told = JSON.parse(document.getElementById("words").textContent);
const language = document.documentElement.lang;

/** A text; `{name}` in it stands for what is given of that name. */
export function word(key, given = {}) {
  return told[key].replace(/\{(\w+)\}/g, (whole, name) => given[name] ?? whole);
}

/** Micro-units of money, with as many decimals as tell it exactly. */
export function money(amountMicro, currency) {
  const usual = new Intl.NumberFormat(language, { style: "currency", currency }).resolvedOptions();
  return new Intl.NumberFormat(language, {
    style: "currency",
    currency,
    minimumFractionDigits: usual.minimumFractionDigits,
    maximumFractionDigits: 6,
  }).format(amountMicro / 1e6);
}

export function clock(seconds) {
  if (!Number.isFinite(seconds)) return "0:00";
  const whole = Math.max(0, Math.floor(seconds));
  const [minutes, rest] = [Math.floor(whole / 60), String(whole % 60).padStart(2, "0")];
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}
