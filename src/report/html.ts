/**
 * One HTML page that needs nothing else: no script, no font, no picture from elsewhere, and a content security policy that
 * forbids them. Every name from a file passes through `escapeXml`. `renderPage` is the frame; `inspectPage` and `quantizePage`
 * fill it (html-inspect.ts, html-quantize.ts).
 */

import { escapeXml } from './svg.ts';

const STYLE = `
:root{color-scheme:light dark;--bg:#fbfaf7;--card:#fff;--ink:#1d2329;--soft:#68727d;--line:#e4e2dc;--bar:#9db4c8;--strong:#2f6f9f;--good:#23794a;--fair:#a06a00;--bad:#b3362b;--mark:#eef3f7}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1b1f24;--ink:#e6e9ec;--soft:#98a2ac;--line:#2c3238;--bar:#46617a;--strong:#6fb1e0;--good:#63c58f;--fair:#e0ae4a;--bad:#f0837a;--mark:#20272e}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:36px 24px 64px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:18px;margin:40px 0 12px}
h3{font-size:15px;margin:20px 0 8px;overflow-wrap:anywhere}
p{margin:6px 0}
.sub,.note{color:var(--soft)}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px 20px;overflow-x:auto}
.facts{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0 0;padding:0;list-style:none}
.facts li{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 16px;min-width:130px}
.facts b{display:block;font-size:19px;font-weight:600;font-variant-numeric:tabular-nums}
.facts span{color:var(--soft);font-size:13px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{color:var(--soft);font-weight:500;font-size:13px;text-align:left;white-space:nowrap;padding:6px 12px 6px 0;border-bottom:1px solid var(--line)}
td{padding:7px 12px 7px 0;border-bottom:1px solid var(--line);vertical-align:middle}
tr:last-child td{border-bottom:0}
th.n,td.n{text-align:right;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
td.name{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:13px;overflow-wrap:anywhere;min-width:160px}
td.nowrap{white-space:nowrap}
tr.group td{background:var(--mark);font-weight:600;padding:6px 10px;font-size:13px;border-radius:4px}
tr.original td{color:var(--soft)}
.good{color:var(--good)}.fair{color:var(--fair)}.bad{color:var(--bad);font-weight:600}
code{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.92em}
details{border-bottom:1px solid var(--line);padding:8px 0}
details:last-child{border-bottom:0}
summary{cursor:pointer;overflow-wrap:anywhere}
summary .sub{margin-left:8px;font-size:13px}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:8px 18px;margin:12px 0}
dt{color:var(--soft);font-size:13px}dd{margin:0;font-variant-numeric:tabular-nums}
dl>div{min-width:0}
ul.notes{margin:8px 0;padding-left:20px;color:var(--soft)}
svg{display:block;max-width:100%;height:auto}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,"DejaVu Sans",sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
svg text.label{fill:var(--ink)}
.spark path,.histogram path,.bars rect{fill:var(--bar)}.bars rect.strong{fill:var(--strong)}
.axis{stroke:var(--soft);stroke-width:1}.grid{stroke:var(--line);stroke-width:1}.zero{stroke:var(--strong);stroke-width:1;stroke-dasharray:3 3}
.scatter circle{fill-opacity:.75}
.s0{fill:#2f7fb8}.s1{fill:#d2722b}.s2{fill:#3a9a5f}.s3{fill:#a45bb5}.s4{fill:#c2504d}.s5{fill:#7d8590}.s6{fill:#1fa3a3}.s7{fill:#b08d00}.s8{fill:#e06fa8}.s9{fill:#6a6fd0}.s10{fill:#8a5a3c}.s11{fill:#7fae3a}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 10px;padding:0;list-style:none;font-size:13px}
.key svg{display:inline;vertical-align:-1px;margin-right:6px}
footer{margin-top:40px;color:var(--soft);font-size:13px}
@media print{body{background:#fff}.card,.facts li{break-inside:avoid}}
`;

/** The whole page around `body`, which is HTML that was escaped already. */
export function renderPage(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="whittle">
<title>${escapeXml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
${body}
<footer>Made by whittle on this machine. The page loads nothing and sends nothing.</footer>
</main>
</body>
</html>
`;
}

/** Figures in a row of boxes; values and labels are plain text. */
export function facts(items: readonly (readonly [value: string, label: string])[]): string {
  return `<ul class="facts">${items
    .map(([value, label]) => `<li><b>${escapeXml(value)}</b><span>${escapeXml(label)}</span></li>`)
    .join('')}</ul>`;
}

export interface HtmlColumn {
  readonly title: string;
  readonly className?: string | undefined;
}

/** A table; cells are HTML. A row that is a string becomes a heading across all columns. */
export function htmlTable(
  columns: readonly HtmlColumn[],
  rows: readonly (string | { readonly cells: readonly string[]; readonly className?: string | undefined })[],
): string {
  const attribute = (name: string | undefined): string => (name === undefined ? '' : ` class="${name}"`);
  const head = columns
    .map(
      ({ title, className }) =>
        `<th${attribute(className === 'name' ? undefined : className)}>${escapeXml(title)}</th>`,
    )
    .join('');
  const body = rows
    .map((row) =>
      typeof row === 'string'
        ? `<tr class="group"><td colspan="${columns.length}">${escapeXml(row)}</td></tr>`
        : `<tr${attribute(row.className)}>${row.cells
            .map((cell, index) => `<td${attribute(columns[index]?.className)}>${cell}</td>`)
            .join('')}</tr>`,
    )
    .join('\n');
  return `<table><thead><tr>${head}</tr></thead><tbody>\n${body}\n</tbody></table>`;
}

export function noteList(notes: readonly string[]): string {
  if (notes.length === 0) return '';
  return `<ul class="notes">${notes.map((note) => `<li>${escapeXml(note)}</li>`).join('')}</ul>`;
}
