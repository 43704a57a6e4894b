/**
 * Globs over tensor, node and operator names: `*` any characters but `/`, `**` any characters, `?` one
 * character but `/`; everything else stands for itself. Names are matched whole.
 *
 * The set of reachable states is carried along the name, so nothing backtracks: the time is bounded by
 * pattern length × name length, whatever a recipe holds (a regular expression would not be).
 */

type Token =
  | { readonly kind: 'char'; readonly char: string }
  | { readonly kind: 'one' | 'star' | 'globstar' };

function tokenize(pattern: string): Token[] {
  const tokens: Token[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    if (char === '?') tokens.push({ kind: 'one' });
    else if (char !== '*') tokens.push({ kind: 'char', char });
    else if (pattern[i + 1] === '*') {
      while (pattern[i + 1] === '*') i++;
      tokens.push({ kind: 'globstar' });
    } else tokens.push({ kind: 'star' });
  }
  return tokens;
}

/** A function that says whether a name matches `pattern` as a whole. */
export function compileGlob(pattern: string): (name: string) => boolean {
  const tokens = tokenize(pattern);
  return (name) => {
    // states[t] = tokens[0..t) can match the part of the name that has been read
    let states = closure(new Uint8Array(tokens.length + 1).fill(1, 0, 1), tokens);
    for (const char of name.split('')) {
      const next = new Uint8Array(tokens.length + 1);
      let alive = false;
      for (let t = 0; t < tokens.length; t++) {
        if (states[t] === 0) continue;
        const token = tokens[t]!;
        if (token.kind === 'globstar' || (token.kind === 'star' && char !== '/')) next[t] = 1;
        else if (token.kind === 'one' ? char !== '/' : token.kind === 'char' && token.char === char)
          next[t + 1] = 1;
        else continue;
        alive = true;
      }
      if (!alive) return false;
      states = closure(next, tokens);
    }
    return states[tokens.length] === 1;
  };
}

/** Stars may match nothing: a state before a star is also a state after it. */
function closure(states: Uint8Array, tokens: readonly Token[]): Uint8Array {
  for (let t = 0; t < tokens.length; t++) {
    const { kind } = tokens[t]!;
    if (states[t] === 1 && (kind === 'star' || kind === 'globstar')) states[t + 1] = 1;
  }
  return states;
}

/** True where any of the patterns matches. */
export function compileGlobs(patterns: string | readonly string[]): (name: string) => boolean {
  const tests = (typeof patterns === 'string' ? [patterns] : patterns).map(compileGlob);
  return (name) => tests.some((test) => test(name));
}
