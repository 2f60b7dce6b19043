// Figures as words, by the rule that Python has, so that page, tables and terminal say the same.

/** Fixed digits of a number; a value right in the middle goes to the even digit, where `toFixed` goes away from zero. */
export function fixed(value, digits) {
  const size = Math.abs(value);
  if ((size * 2 ** (digits + 1)) % 2 !== 1) return value.toFixed(digits);
  const below = Math.floor(size * 10 ** digits);
  return ((Math.sign(value) * (below + (below % 2))) / 10 ** digits).toFixed(digits);
}

const rounded = (value, digits) => Number(fixed(value, digits));

/** As the tables hold them, a severity with two digits and a ratio with three, and then for the eye. */
export const severityWords = (value) => fixed(rounded(value, 2), 1);
export const ratioWords = (value) => fixed(rounded(value, 3), 2);

export const percent = (value) => `${fixed(100 * value, 0)} %`;
