/**
 * "Did you mean": the nearest of a list of known words by edit distance (Levenshtein, 1966), if it is near at all.
 * Words are cut at 64 characters, so that a hostile recipe costs nothing.
 */

const LONGEST = 64;

/** Nearest of `known` to `word` within a third of its length (at least 2 edits); undefined where none is. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const given = word.slice(0, LONGEST).toLowerCase();
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(given.length / 3)) + 1;
  for (const candidate of known) {
    const d = distance(given, candidate.slice(0, LONGEST).toLowerCase());
    if (d < bestDistance) {
      best = candidate;
      bestDistance = d;
    }
  }
  return best;
}

function distance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(change, previous[j]! + 1, row[j - 1]! + 1));
    }
    previous = row;
  }
  return previous[b.length]!;
}
